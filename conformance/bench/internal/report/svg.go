// Package report turns results into a page, pictures and comparisons.
package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

// Sizes of a picture, in pixels.
const (
	width, height            = 720.0, 380.0
	left, right, top, bottom = 76.0, 20.0, 58.0, 52.0
)

// colors can be told apart by everybody, in light and dark pages.
var colors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"}

// axis maps values to pixels.
type axis struct {
	from, to   float64 // values
	start, end float64 // pixels
	log        bool
}

func (a axis) at(v float64) float64 {
	from, to := a.from, a.to
	if a.log {
		from, to, v = math.Log10(from), math.Log10(to), math.Log10(max(v, a.from))
	}
	return a.start + (a.end-a.start)*(v-from)/(to-from)
}

// ticks are round values along the axis.
func (a axis) ticks() []float64 {
	var all []float64
	if a.log {
		for v := a.from; v <= a.to*1.0001; v *= 10 {
			all = append(all, v)
		}
		return all
	}
	step := niceStep((a.to - a.from) / 5)
	for v := math.Ceil(a.from/step) * step; v <= a.to*1.0001; v += step {
		all = append(all, v)
	}
	return all
}

// niceStep is 1, 2 or 5 times a power of ten, and not less than wanted.
func niceStep(wanted float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(wanted)))
	for _, by := range []float64{1, 2, 5} {
		if by*power >= wanted*0.999 {
			return by * power
		}
	}
	return 10 * power
}

// newAxis covers some values.
func newAxis(values []float64, start, end float64, log, fromZero bool) axis {
	a := axis{from: math.Inf(1), to: math.Inf(-1), start: start, end: end, log: log}
	for _, v := range values {
		if log && v <= 0 {
			continue
		}
		a.from, a.to = min(a.from, v), max(a.to, v)
	}
	if a.from > a.to {
		a.from, a.to = 1, 10
	}
	switch {
	case log:
		a.from = math.Pow(10, math.Floor(math.Log10(a.from)))
		a.to = math.Pow(10, math.Ceil(math.Log10(a.to)))
		if a.from == a.to {
			a.to *= 10
		}
	case fromZero:
		a.from = 0
		step := niceStep(max(a.to, 1e-9) / 5)
		a.to = math.Ceil(a.to/step) * step
	case a.from == a.to:
		a.to++
	}
	if a.to == 0 {
		a.to = 1
	}
	return a
}

// SVG draws a plot.
func SVG(p results.Plot) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="12">`+"\n",
		width, height)
	fmt.Fprintf(&b, `<rect width="%g" height="%g" fill="#ffffff"/>`+"\n", width, height)
	write(&b, left, 20, "start", 15, p.Title)
	var ys []float64
	for _, l := range p.Lines {
		ys = append(ys, l.Y...)
	}
	y := newAxis(ys, height-bottom, top, p.LogY, !p.LogY)
	for _, v := range y.ticks() {
		fmt.Fprintf(&b, `<line x1="%g" y1="%.1f" x2="%g" y2="%.1f" stroke="#dddddd"/>`+"\n", left, y.at(v), width-right, y.at(v))
		write(&b, left-6, y.at(v)+4, "end", 12, results.Number(v))
	}
	write(&b, left-6, top-10, "end", 12, p.Y)
	if p.Bars {
		bars(&b, p, y)
	} else {
		lines(&b, p, y)
	}
	legend(&b, p)
	fmt.Fprintf(&b, `<line x1="%g" y1="%g" x2="%g" y2="%g" stroke="#333333"/>`+"\n", left, height-bottom, width-right, height-bottom)
	b.WriteString("</svg>\n")
	return b.String()
}

func write(b *strings.Builder, x, y float64, anchor string, size int, text string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="#333333">%s</text>`+"\n",
		x, y, anchor, size, html.EscapeString(text))
}

// legend names the lines, if there are several.
func legend(b *strings.Builder, p results.Plot) {
	if len(p.Lines) < 2 {
		return
	}
	x := left
	for i, l := range p.Lines {
		fmt.Fprintf(b, `<rect x="%.1f" y="30" width="12" height="12" fill="%s"/>`+"\n", x, colors[i%len(colors)])
		write(b, x+17, 40, "start", 12, l.Name)
		x += 40 + 7*float64(len(l.Name))
	}
}

// bars draws a group of bars for each label of the first line.
func bars(b *strings.Builder, p results.Plot, y axis) {
	if len(p.Lines) == 0 {
		return
	}
	labels := p.Lines[0].Labels
	group := (width - left - right) / float64(max(1, len(labels)))
	each := group * 0.8 / float64(len(p.Lines))
	for g, label := range labels {
		x := left + group*float64(g) + group*0.1
		write(b, x+group*0.4, height-bottom+18, "middle", 12, label)
		for i, l := range p.Lines {
			if g >= len(l.Y) {
				continue
			}
			at, size := y.at(l.Y[g]), 12
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n",
				x+each*float64(i), at, each*0.94, max(0, height-bottom-at), colors[i%len(colors)])
			if each < 60 {
				size = 9
			}
			write(b, x+each*(float64(i)+0.47), at-4, "middle", size, results.Number(l.Y[g]))
		}
	}
}

// lines draws one line for each.
func lines(b *strings.Builder, p results.Plot, y axis) {
	var xs []float64
	for _, l := range p.Lines {
		xs = append(xs, l.X...)
	}
	x := newAxis(xs, left, width-right, p.LogX, false)
	for _, v := range x.ticks() {
		write(b, x.at(v), height-bottom+18, "middle", 12, results.Number(v))
	}
	write(b, width-right, height-bottom+38, "end", 12, p.X)
	for i, l := range p.Lines {
		var points []string
		for j := range min(len(l.X), len(l.Y)) {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(l.X[j]), y.at(l.Y[j])))
		}
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>`+"\n", colors[i%len(colors)],
			strings.Join(slices.Compact(points), " "))
	}
}
