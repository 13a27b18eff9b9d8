module github.com/holdfast-dev/holdfast/conformance

go 1.26.0
