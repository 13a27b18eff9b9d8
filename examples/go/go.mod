module github.com/holdfast-dev/holdfast/examples/go

go 1.26.0

replace (
	github.com/holdfast-dev/holdfast/proto => ../../proto
	github.com/holdfast-dev/holdfast/sdk-go => ../../sdk-go
)

require (
	github.com/holdfast-dev/holdfast/proto v0.0.0
	github.com/holdfast-dev/holdfast/sdk-go v0.0.0
)
