module github.com/holdfast-dev/holdfast/tools/project

go 1.26.0
