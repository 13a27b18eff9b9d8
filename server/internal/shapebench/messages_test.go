package shapebench

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/log/v1"
	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// messages is the contract as it is: one sub-message for each operation and for each result, and
// log messages of their own.
type messages struct{}

func (messages) client(ops []op) []byte { return must(proto.Marshal(executeRequest(ops))) }

func executeRequest(ops []op) *holdfastv1.ExecuteRequest {
	req := &holdfastv1.ExecuteRequest{SessionId: session, Acked: 99_000}
	for _, o := range ops {
		if o.grant != 0 {
			req.Operations = append(req.Operations, &holdfastv1.Operation{
				Operation: &holdfastv1.Operation_Release{Release: &holdfastv1.ReleaseRequest{
					GrantId: o.grant, RequestId: o.request,
				}},
			})
			continue
		}
		req.Operations = append(req.Operations, &holdfastv1.Operation{
			Operation: &holdfastv1.Operation_Acquire{Acquire: &holdfastv1.AcquireRequest{
				Name: o.name, Mode: holdfastv1.Mode_MODE_EXCLUSIVE, Owner: o.owner, RequestId: o.request,
				Wait: durationpb.New(time.Duration(o.wait) * time.Millisecond),
			}},
		})
	}
	return req
}

func (messages) leader(request []byte) ([]locktable.Command, []byte) {
	cmds := executeCommands(request)
	return cmds, must(proto.Marshal(logEntry(cmds)))
}

func executeCommands(request []byte) []locktable.Command {
	var req holdfastv1.ExecuteRequest
	check(proto.Unmarshal(request, &req))
	cmds := make([]locktable.Command, 0, len(req.GetOperations()))
	for _, o := range req.GetOperations() {
		switch o := o.GetOperation().(type) {
		case *holdfastv1.Operation_Acquire:
			checkName(o.Acquire.GetName())
			cmds = append(cmds, command(op{
				request: o.Acquire.GetRequestId(), name: o.Acquire.GetName(), owner: o.Acquire.GetOwner(),
				wait: o.Acquire.GetWait().AsDuration().Milliseconds(),
			}))
		case *holdfastv1.Operation_Release:
			cmds = append(cmds, command(op{request: o.Release.GetRequestId(), grant: o.Release.GetGrantId()}))
		}
	}
	return cmds
}

func logEntry(cmds []locktable.Command) *logv1.Entry {
	entry := &logv1.Entry{SemanticsVersion: 1, StampMs: stamp, Proposal: proposal}
	for _, c := range cmds {
		switch c := c.(type) {
		case *locktable.Acquire:
			entry.Commands = append(entry.Commands, &logv1.Command{
				Principal: c.Principal,
				Command: &logv1.Command_Acquire{Acquire: &logv1.Acquire{
					SessionId: uint64(c.Session), RequestId: c.Request, Acked: c.Acked, Owner: c.Owner,
					Claims: []*logv1.Claim{{Name: c.Claims[0].Name, Mode: uint32(c.Claims[0].Mode)}},
					WaitMs: c.WaitLimit,
				}},
			})
		case *locktable.Release:
			entry.Commands = append(entry.Commands, &logv1.Command{
				Principal: c.Principal,
				Command: &logv1.Command_Release{Release: &logv1.Release{
					SessionId: uint64(c.Session), RequestId: c.Request, Acked: c.Acked, GrantId: int64(c.Grant),
				}},
			})
		}
	}
	return entry
}

func (messages) replica(entry []byte) []locktable.Command {
	var e logv1.Entry
	check(proto.Unmarshal(entry, &e))
	cmds := make([]locktable.Command, 0, len(e.GetCommands()))
	for _, c := range e.GetCommands() {
		switch c := c.GetCommand().(type) {
		case *logv1.Command_Acquire:
			cmds = append(cmds, command(op{
				request: c.Acquire.GetRequestId(), name: c.Acquire.GetClaims()[0].GetName(),
				owner: c.Acquire.GetOwner(), wait: c.Acquire.GetWaitMs(),
			}))
		case *logv1.Command_Release:
			cmds = append(cmds, command(op{request: c.Release.GetRequestId(), grant: c.Release.GetGrantId()}))
		}
	}
	return cmds
}

func (messages) answer(cmds []locktable.Command, first uint64) []byte {
	resp := &holdfastv1.ExecuteResponse{
		Deadlines: &holdfastv1.Deadlines{SessionMs: stamp + ttlMillis},
		Cluster:   &holdfastv1.ClusterRef{ClusterId: "0192f0c4-5a7e-7cc3-98c4-dc0c0c07398f", Epoch: 1},
	}
	for i, c := range cmds {
		at := &holdfastv1.Stamp{Index: index, Offset: uint32(i), TimeMs: stamp}
		r := &holdfastv1.OperationResult{}
		switch c := c.(type) {
		case *locktable.Acquire:
			r.Result = &holdfastv1.OperationResult_Acquire{Acquire: &holdfastv1.AcquireResponse{
				Outcome: holdfastv1.Outcome_OUTCOME_GRANTED,
				Grant: &holdfastv1.Grant{
					Id: int64(first) + int64(i), Token: int64(first) + int64(i), Depth: 1,
					Claims:    []*holdfastv1.Claim{{Name: c.Claims[0].Name, Mode: holdfastv1.Mode_MODE_EXCLUSIVE}},
					Deadlines: &holdfastv1.Deadlines{SessionMs: stamp + ttlMillis},
					ExpiresIn: durationpb.New(ttlMillis * time.Millisecond),
				},
				Stamp: at,
			}}
		case *locktable.Release:
			r.Result = &holdfastv1.OperationResult_Release{Release: &holdfastv1.ReleaseResponse{Stamp: at}}
		}
		resp.Results = append(resp.Results, r)
	}
	return must(proto.Marshal(resp))
}

func (messages) read(response []byte, into []result, _ []op) []result {
	var resp holdfastv1.ExecuteResponse
	check(proto.Unmarshal(response, &resp))
	for _, r := range resp.GetResults() {
		var at *holdfastv1.Stamp
		out := result{session: resp.GetDeadlines().GetSessionMs()}
		switch r := r.GetResult().(type) {
		case *holdfastv1.OperationResult_Acquire:
			at = r.Acquire.GetStamp()
			out.granted = r.Acquire.GetOutcome() == holdfastv1.Outcome_OUTCOME_GRANTED
			out.grant, out.token = r.Acquire.GetGrant().GetId(), r.Acquire.GetGrant().GetToken()
			out.depth = r.Acquire.GetGrant().GetDepth()
		case *holdfastv1.OperationResult_Release:
			at = r.Release.GetStamp()
			out.depth = r.Release.GetDepth()
		}
		out.index, out.offset, out.time = at.GetIndex(), at.GetOffset(), at.GetTimeMs()
		into = append(into, out)
	}
	return into
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
