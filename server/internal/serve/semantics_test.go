package serve

import (
	"testing"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
)

// HF-10.7: a version is switched on when every member can apply it, and no higher one.
func TestCommonSemantics(t *testing.T) {
	member := func(version uint32) *peerv1.DescribeResponse {
		return &peerv1.DescribeResponse{SemanticsVersionMax: version}
	}
	for _, c := range []struct {
		own    uint32
		others []*peerv1.DescribeResponse
		want   uint32
	}{
		{2, nil, 2},
		{2, []*peerv1.DescribeResponse{member(2), member(3)}, 2},
		{3, []*peerv1.DescribeResponse{member(2), member(3)}, 2},
		{2, []*peerv1.DescribeResponse{member(2), member(1)}, 1},
	} {
		if got := commonSemantics(c.own, c.others); got != c.want {
			t.Errorf("own %d, others %v: got %d, want %d", c.own, c.others, got, c.want)
		}
	}
}
