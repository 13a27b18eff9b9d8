package waitgraph

import (
	"reflect"
	"testing"
)

type graph map[string][]string

func (g graph) next(n string, visit func(string)) {
	for _, m := range g[n] {
		visit(m)
	}
}

// HF-8.2: the shortest cycle is taken; each is written from its least owner, and the least
// sequence wins.
func TestShortest(t *testing.T) {
	for name, test := range map[string]struct {
		graph graph
		nodes []string
		want  []string
	}{
		"no cycle":                  {graph{"a": {"b"}, "b": {"c"}}, []string{"a", "b", "c"}, nil},
		"two":                       {graph{"a": {"b"}, "b": {"a"}}, []string{"a", "b"}, []string{"a", "b"}},
		"written from the least":    {graph{"b": {"c"}, "c": {"a"}, "a": {"b"}}, []string{"a", "b", "c"}, []string{"a", "b", "c"}},
		"shorter wins over less":    {graph{"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"c"}}, []string{"a", "b", "c", "d"}, []string{"c", "d"}},
		"least sequence":            {graph{"a": {"c", "b"}, "b": {"a"}, "c": {"a"}}, []string{"a", "b", "c"}, []string{"a", "b"}},
		"least at the second place": {graph{"a": {"d", "b"}, "b": {"d", "c"}, "d": {"c"}, "c": {"a"}}, []string{"a", "b", "c", "d"}, []string{"a", "b", "c"}},
		"nodes not given are out":   {graph{"a": {"b"}, "b": {"a"}}, []string{"a"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Shortest(test.nodes, test.graph.next); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestComponent(t *testing.T) {
	g := graph{"a": {"b"}, "b": {"c", "x"}, "c": {"a"}, "x": {"y"}, "y": {"x"}}
	places := map[string]*uint32{}
	place := func(n string) *uint32 {
		if places[n] == nil {
			places[n] = new(uint32)
		}
		return places[n]
	}
	got := Component("a", g.next, place)
	if len(got) != 3 || got[0] != "a" {
		t.Errorf("component of a is %v, want a, b, c", got)
	}
	if got := Component("b2", g.next, place); got != nil {
		t.Errorf("component of a node on no cycle is %v", got)
	}
	for n, at := range places {
		if *at != 0 {
			t.Errorf("%s keeps the number %d", n, *at)
		}
	}
}

func TestReaches(t *testing.T) {
	g := graph{"a": {"b"}, "b": {"c"}, "c": {"b"}}
	if !Reaches("a", "c", g.next) || Reaches("c", "a", g.next) {
		t.Error("a reaches c and not the other way round")
	}
	if Reaches("a", "a", g.next) || !Reaches("b", "b", g.next) {
		t.Error("a node reaches itself only on a cycle")
	}
}
