// Package archtest holds the test of who may import whom (docs/ARCHITECTURE.md, section 4). It has
// no other content.
package archtest
