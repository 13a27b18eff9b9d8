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
// lies on no cycle.
func Component[N comparable](start N, next Next[N]) []N {
	back := map[N][]N{} // edges seen, turned round
	seen := map[N]bool{start: true}
	stack := []N{start}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		next(n, func(m N) {
			back[m] = append(back[m], n)
			if !seen[m] {
				seen[m] = true
				stack = append(stack, m)
			}
		})
	}
	if len(back[start]) == 0 {
		return nil
	}
	component := []N{start}
	reaching := map[N]bool{start: true}
	for i := 0; i < len(component); i++ {
		for _, n := range back[component[i]] {
			if !reaching[n] {
				reaching[n] = true
				component = append(component, n)
			}
		}
	}
	return component
}

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
