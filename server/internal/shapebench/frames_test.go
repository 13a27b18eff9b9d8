package shapebench

import (
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/shapebench/shapepb"
)

// frames is the contract as it is, with the request put into the log entry in the bytes in which
// it came: the leader encodes nothing, the replicas decode the public messages.
type frames struct{ messages }

func (frames) leader(request []byte) ([]locktable.Command, []byte) {
	cmds := executeCommands(request)
	return cmds, must(proto.Marshal(&shapepb.FramesEntry{
		SemanticsVersion: 1, StampMs: stamp, Proposal: proposal,
		Frames: []*shapepb.Frame{{Principal: principal, Request: request}},
	}))
}

func (frames) replica(entry []byte) []locktable.Command {
	var e shapepb.FramesEntry
	check(proto.Unmarshal(entry, &e))
	var cmds []locktable.Command
	for _, f := range e.GetFrames() {
		cmds = append(cmds, executeCommands(f.GetRequest())...)
	}
	return cmds
}

// columnFrames is columns in the requests and answers, put into the log as they came.
type columnFrames struct{ columns }

func (columnFrames) leader(request []byte) ([]locktable.Command, []byte) {
	req := &shapepb.Columns{}
	check(proto.Unmarshal(request, req))
	return columnCommands(nil, req), must(proto.Marshal(&shapepb.FramesEntry{
		SemanticsVersion: 1, StampMs: stamp, Proposal: proposal,
		Frames: []*shapepb.Frame{{Principal: principal, Request: request}},
	}))
}

func (columnFrames) replica(entry []byte) []locktable.Command {
	var e shapepb.FramesEntry
	check(proto.Unmarshal(entry, &e))
	var cmds []locktable.Command
	for _, f := range e.GetFrames() {
		req := &shapepb.Columns{}
		check(proto.Unmarshal(f.GetRequest(), req))
		cmds = columnCommands(cmds, req)
	}
	return cmds
}
