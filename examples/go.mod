module github.com/holdfast-dev/holdfast/examples

go 1.26.0

replace (
	github.com/holdfast-dev/holdfast/conformance => ../conformance
	github.com/holdfast-dev/holdfast/proto => ../proto
	github.com/holdfast-dev/holdfast/sdk-go => ../sdk-go
	github.com/holdfast-dev/holdfast/server => ../server
)

require (
	github.com/holdfast-dev/holdfast/sdk-go v0.0.0
	github.com/holdfast-dev/holdfast/server v0.0.0
	modernc.org/sqlite v1.62.0
)
