package loadgen

import (
	"context"
	"testing"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
	"github.com/holdfast-dev/holdfast/server/holdfasttest"
)

func TestSessionsThatEndMeanwhileAreCounted(t *testing.T) {
	srv := holdfasttest.Start(t)
	c := Default(Sessions)
	c.Clients = 5
	c.Connect = func(opts ...holdfast.Option) (*holdfast.Client, error) {
		return holdfast.New(context.Background(), append(opts, holdfast.Endpoints(srv.URL()))...)
	}
	cs, err := openClients(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer cs.close()
	if n := cs.lost(t.Context()); n != 0 {
		t.Errorf("%d are lost although nothing happened", n)
	}
	if err := cs.observer.Admin().RevokeSession(t.Context(), cs.ids[3], "to see that it is counted"); err != nil {
		t.Fatal(err)
	}
	_, _ = cs.all[3].Lock("a").Acquire(t.Context()) // if the client has not been told yet, it learns it now
	if r := cs.report(t.Context(), false); r.Lost != 1 || r.Idle {
		t.Errorf("report %+v, want one lost", r)
	}
}
