package shapebench

import (
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/shapebench/shapepb"
)

const (
	kindAcquire = 1
	kindRelease = 2
)

// columns carries a batch field by field, in the requests, in the log and in the answers.
type columns struct{}

func (columns) client(ops []op) []byte {
	req := &shapepb.Columns{SessionId: session, Acked: 99_000}
	for _, o := range ops {
		req.RequestIds = append(req.RequestIds, o.request)
		if o.grant != 0 {
			req.Kinds = append(req.Kinds, kindRelease)
			req.GrantIds = append(req.GrantIds, o.grant)
			continue
		}
		req.Kinds = append(req.Kinds, kindAcquire)
		req.Names = append(req.Names, o.name...)
		req.NameEnds = append(req.NameEnds, uint32(len(req.Names)))
		req.Modes = append(req.Modes, byte(locktable.X))
		req.Owners = append(req.Owners, o.owner...)
		req.OwnerEnds = append(req.OwnerEnds, uint32(len(req.Owners)))
		req.WaitMs = append(req.WaitMs, o.wait)
	}
	return must(proto.Marshal(req))
}

func (columns) leader(request []byte) ([]locktable.Command, []byte) {
	req := &shapepb.Columns{}
	check(proto.Unmarshal(request, req))
	cmds := columnCommands(nil, req)
	req.Principal = principal
	return cmds, must(proto.Marshal(&shapepb.ColumnsEntry{
		SemanticsVersion: 1, StampMs: stamp, Proposal: proposal, Batches: []*shapepb.Columns{req},
	}))
}

// columnCommands makes one string of all names, which keeps the whole batch alive while one of
// its names is held: a lock table has to copy the names it keeps.
func columnCommands(cmds []locktable.Command, req *shapepb.Columns) []locktable.Command {
	names, owners := string(req.GetNames()), string(req.GetOwners())
	acquires, releases := 0, 0
	nameAt, ownerAt := uint32(0), uint32(0)
	for i, kind := range req.GetKinds() {
		if kind == kindRelease {
			cmds = append(cmds, command(op{request: req.GetRequestIds()[i], grant: req.GetGrantIds()[releases]}))
			releases++
			continue
		}
		nameEnd, ownerEnd := req.GetNameEnds()[acquires], req.GetOwnerEnds()[acquires]
		name := names[nameAt:nameEnd]
		checkName(name)
		cmds = append(cmds, command(op{
			request: req.GetRequestIds()[i], name: name, owner: owners[ownerAt:ownerEnd],
			wait: req.GetWaitMs()[acquires],
		}))
		nameAt, ownerAt = nameEnd, ownerEnd
		acquires++
	}
	return cmds
}

func (columns) replica(entry []byte) []locktable.Command {
	var e shapepb.ColumnsEntry
	check(proto.Unmarshal(entry, &e))
	var cmds []locktable.Command
	for _, b := range e.GetBatches() {
		cmds = columnCommands(cmds, b)
	}
	return cmds
}

func (columns) answer(cmds []locktable.Command, first uint64) []byte {
	resp := &shapepb.ColumnsResults{Index: index, TimeMs: stamp, SessionDeadlineMs: stamp + ttlMillis}
	for i, c := range cmds {
		switch c.(type) {
		case *locktable.Acquire:
			resp.Kinds = append(resp.Kinds, kindAcquire)
			resp.Outcomes = append(resp.Outcomes, byte(locktable.Granted))
			resp.GrantIds = append(resp.GrantIds, int64(first)+int64(i))
			resp.Tokens = append(resp.Tokens, int64(first)+int64(i))
			resp.Depths = append(resp.Depths, 1)
		case *locktable.Release:
			resp.Kinds = append(resp.Kinds, kindRelease)
			resp.Depths = append(resp.Depths, 0)
		}
	}
	return must(proto.Marshal(resp))
}

func (columns) read(response []byte, into []result, _ []op) []result {
	var resp shapepb.ColumnsResults
	check(proto.Unmarshal(response, &resp))
	acquires := 0
	for i, kind := range resp.GetKinds() {
		out := result{
			index: resp.GetIndex(), offset: resp.GetOffset() + uint32(i), time: resp.GetTimeMs(),
			session: resp.GetSessionDeadlineMs(), depth: resp.GetDepths()[i],
		}
		if kind == kindAcquire {
			out.granted = resp.GetOutcomes()[acquires] == byte(locktable.Granted)
			out.grant, out.token = resp.GetGrantIds()[acquires], resp.GetTokens()[acquires]
			acquires++
		}
		into = append(into, out)
	}
	return into
}
