// Package waitgraph finds cycles in a wait-for graph (HF-8). It is pure: the graph is given by a
// function that visits the nodes a node waits for, and nothing is kept between calls.
package waitgraph

// Next calls visit with every node that n waits for; it may visit one more than once.
type Next[N comparable] func(n N, visit func(N))

// Reaches tells whether there is a path of at least one edge from one node to another.
func Reaches[N comparable](from, to N, next Next[N]) bool {
	seen := map[N]bool{}
	found := false
	stack := []N{from}
	for len(stack) > 0 && !found {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		next(n, func(m N) {
			found = found || m == to
			if !seen[m] {
				seen[m] = true
				stack = append(stack, m)
			}
		})
	}
	return found
}

// Component gives the nodes that lie on a cycle together with start, start first; none if start
// lies on no cycle. Place gives room in a node for a number, which is 0 before and after: a search
// through a thousand nodes costs no map.
func Component[N comparable](start N, next Next[N], place func(N) *uint32) []N {
	nodes := []N{start}
	*place(start) = 1
	into := []int32{none}                // of each node, the last of the edges that lead to it
	var edges []struct{ from, on int32 } // turned round: where an edge comes from, and the next to the same node
	for i := 0; i < len(nodes); i++ {
		next(nodes[i], func(m N) {
			at := place(m)
			if *at == 0 {
				nodes, into = append(nodes, m), append(into, none)
				*at = uint32(len(nodes))
			}
			edges = append(edges, struct{ from, on int32 }{int32(i), into[*at-1]})
			into[*at-1] = int32(len(edges) - 1)
		})
	}
	for _, n := range nodes {
		*place(n) = 0
	}
	if into[0] == none {
		return nil
	}
	component := []int32{0}
	reaching := make([]bool, len(nodes))
	reaching[0] = true
	for i := 0; i < len(component); i++ {
		for e := into[component[i]]; e != none; e = edges[e].on {
			if from := edges[e].from; !reaching[from] {
				reaching[from] = true
				component = append(component, from)
			}
		}
	}
	found := make([]N, len(component))
	for i, n := range component {
		found[i] = nodes[n]
	}
	return found
}

const none = -1

// Shortest gives the shortest cycle among nodes, which are in rising order. Each cycle is written
// from its least node, and of several shortest the least sequence is given (HF-8.2). It is nil if
// there is none.
func Shortest[N comparable](nodes []N, next Next[N]) []N {
	rank := make(map[N]int, len(nodes))
	for i, n := range nodes {
		rank[n] = i
	}
	out := make([][]int, len(nodes))
	in := make([][]int, len(nodes))
	for i, n := range nodes {
		next(n, func(m N) {
			if j, ok := rank[m]; ok && j != i {
				out[i] = append(out[i], j)
				in[j] = append(in[j], i)
			}
		})
	}
	var least []int
	for start := range nodes {
		distance := distances(start, in)
		if c := from(start, out, distance, len(least)); c != nil {
			least = c
		}
	}
	var cycle []N
	for _, i := range least {
		cycle = append(cycle, nodes[i])
	}
	return cycle
}

// distances gives how many edges each node is away from target, over nodes that are not less than
// it; -1 if it cannot be reached so.
func distances(target int, in [][]int) []int {
	distance := make([]int, len(in))
	for i := range distance {
		distance[i] = -1
	}
	distance[target] = 0
	queue := []int{target}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		for _, m := range in[n] {
			if m > target && distance[m] < 0 {
				distance[m] = distance[n] + 1
				queue = append(queue, m)
			}
		}
	}
	return distance
}

// from gives the least of the shortest cycles whose least node is start, if it is shorter than
// limit (0: none).
func from(start int, out [][]int, distance []int, limit int) []int {
	best := -1
	for _, m := range out[start] {
		if d := distance[m]; m > start && d >= 0 && (best < 0 || d < best) {
			best = d
		}
	}
	if best < 0 || limit > 0 && best+1 >= limit {
		return nil
	}
	cycle := []int{start}
	for n, left := start, best; left >= 1; left-- {
		least := -1
		for _, m := range out[n] {
			if m > start && distance[m] == left && (least < 0 || m < least) {
				least = m
			}
		}
		cycle = append(cycle, least)
		n = least
	}
	return cycle
}
