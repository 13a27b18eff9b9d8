module github.com/holdfast-dev/holdfast/sdk-go/integration

go 1.26.0

replace (
	github.com/holdfast-dev/holdfast/conformance => ../../conformance
	github.com/holdfast-dev/holdfast/proto => ../../proto
	github.com/holdfast-dev/holdfast/sdk-go => ../
	github.com/holdfast-dev/holdfast/server => ../../server
)

require (
	github.com/holdfast-dev/holdfast/sdk-go v0.0.0
	github.com/holdfast-dev/holdfast/server v0.0.0
	go.uber.org/goleak v1.3.0
)
