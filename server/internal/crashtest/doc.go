// Package crashtest kills real servers, again and again, under load, and checks what they promised:
// no acknowledged grant is lost (HF-10.1), no two owners hold a name against the rules, tokens rise
// for ever (HF-6.1), commands that are repeated count once (HF-7.1), and the service goes on
// (HF-10.3).
//
//	go test ./internal/crashtest                                 # a short run
//	go test ./internal/crashtest -v -rounds 200 -timeout 60m     # the long one
//	go test ./internal/crashtest -v -rounds 200 -seed 17         # the same schedule again
//
// The schedule of kills follows from the seed; what the load meets does not, since it is real.
package crashtest
