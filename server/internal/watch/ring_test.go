package watch

import (
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// fill gives every field below v a value of its own.
func fill(v reflect.Value, next *uint64) {
	*next++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), next)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range 3 {
			fill(v.Index(i), next)
		}
	case reflect.String:
		v.SetString(strings.Repeat(string(rune('a'+*next%26)), int(*next%200)))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*next << 40))
	case reflect.Uint32:
		v.SetUint(*next << 20)
	case reflect.Uint64:
		v.SetUint(*next << 50)
	case reflect.Uint8:
		v.SetUint(*next % 256)
	default:
		panic("an event has a field of a new kind: " + v.Type().String())
	}
}

// What is kept of an event is all of it, whatever is set and whatever is not.
func TestARingKeepsAllOfAnEvent(t *testing.T) {
	var full locktable.Event
	fill(reflect.ValueOf(&full).Elem(), new(uint64))
	events := []locktable.Event{{}, full}
	for i := range reflect.TypeFor[locktable.Event]().NumField() {
		var one, allButOne locktable.Event
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(full).Field(i))
		allButOne = full
		reflect.ValueOf(&allButOne).Elem().Field(i).SetZero()
		events = append(events, one, allButOne)
	}
	same := full
	same.Claims = same.Grant.Claims
	events = append(events, same)
	r := ring{countMax: 1 << 10, bytesMax: 1 << 20}
	for i := range events {
		r.add(&events[i], place{index: uint64(i), seq: 7}, int64(i)*10, 3)
	}
	for i, want := range events {
		item := r.item(uint64(i))
		if !reflect.DeepEqual(item.Event, want) {
			t.Errorf("%+v was kept as %+v", want, item.Event)
		}
		if item.Time != int64(i)*10 || item.History.Epoch != 3 || item.place != (place{index: uint64(i), seq: 7}) {
			t.Errorf("event %d: %+v", i, item)
		}
	}
}

// A ring uses the room of what it forgets again, and takes events of any size.
func TestARingIsBounded(t *testing.T) {
	r := ring{countMax: 1000, bytesMax: 1 << 20}
	for i := range uint64(20_000) {
		for r.full() {
			r.drop()
		}
		e := locktable.Event{Request: i, Detail: strings.Repeat("x", int(i%2000))}
		if i%3000 == 0 {
			e.Detail = strings.Repeat("y", 2*chunkBytes)
		}
		r.add(&e, place{index: i}, 1, 1)
		for _, n := range []uint64{r.from, (r.from + r.to) / 2, r.to - 1} {
			if got := r.item(n).Event; got.Request != n || n == i && got.Detail != e.Detail {
				t.Fatalf("event %d reads %d, %d bytes of text", n, got.Request, len(got.Detail))
			}
		}
		if room := len(r.chunks) * chunkBytes; room > r.bytesMax+4*chunkBytes {
			t.Fatalf("%d chunks for %d bytes", len(r.chunks), r.bytes)
		}
	}
	r.clear(place{index: 20_000})
	if r.bytes != 0 || len(r.chunks) != 0 {
		t.Errorf("%d bytes in %d chunks are left", r.bytes, len(r.chunks))
	}
}
