package raftnode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// everyCommand has one of each, in the order of the source.
var everyCommand = []locktable.Command{
	&locktable.Bootstrap{}, &locktable.OpenSession{}, &locktable.RenewSession{}, &locktable.CloseSession{},
	&locktable.Acquire{}, &locktable.Release{}, &locktable.Convert{}, &locktable.Renew{}, &locktable.Cancel{},
	&locktable.RevokeGrant{}, &locktable.RevokeSession{}, &locktable.SetLimits{}, &locktable.SetSemantics{},
	&locktable.RaiseEpoch{},
}

func TestEveryCommandHasAFormInTheLog(t *testing.T) {
	source, err := os.ReadFile("../locktable/command.go")
	if err != nil {
		t.Fatal(err)
	}
	var declared, tried []string
	for _, m := range regexp.MustCompile(`(?m)^func \(\*(\w+)\) command\(\)`).FindAllStringSubmatch(string(source), -1) {
		declared = append(declared, m[1])
	}
	for _, c := range everyCommand {
		tried = append(tried, reflect.TypeOf(c).Elem().Name())
	}
	if !slices.Equal(declared, tried) {
		t.Errorf("the tests know %v, the lock table has %v", tried, declared)
	}
}

// fill puts a value of its own into every field. Fields with few values get one that is not zero.
func fill(v reflect.Value, next *int64) {
	*next++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), next)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			fill(v.Index(i), next)
		}
	case reflect.String:
		v.SetString(strings.Repeat("ä", int(*next%7)+1) + string(rune('a'+*next%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(math.MaxInt64 - *next)
	case reflect.Int32:
		v.SetInt(-*next)
	case reflect.Uint64:
		v.SetUint(math.MaxUint64 - uint64(*next))
	case reflect.Uint32:
		v.SetUint(math.MaxUint32 - uint64(*next))
	case reflect.Uint8: // Mode, DeadlockAction
		n := uint64(1)
		if v.Type() == reflect.TypeFor[locktable.Mode]() {
			n = uint64(*next)%uint64(locktable.X) + 1
		}
		v.SetUint(n)
	default:
		panic("a field of a kind that fill does not know: " + v.Kind().String())
	}
}

func filled(c locktable.Command, seed int64) locktable.Command {
	v := reflect.New(reflect.TypeOf(c).Elem())
	fill(v.Elem(), &seed)
	return v.Interface().(locktable.Command)
}

func roundTrip(t *testing.T, e Entry) Entry {
	t.Helper()
	frame, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(frame)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestEveryFieldOfEveryCommandComesBack(t *testing.T) {
	var all []locktable.Command
	for i, c := range everyCommand {
		want := Entry{Proposal: math.MaxUint64 - uint64(i), Version: SemanticsMax, Stamp: math.MaxInt64,
			Commands: []locktable.Command{filled(c, int64(i*50))}}
		if got := roundTrip(t, want); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		all = append(all, want.Commands[0])
	}
	want := Entry{Proposal: 1, Version: SemanticsMax, Stamp: 5, Commands: all}
	if got := roundTrip(t, want); !reflect.DeepEqual(got, want) {
		t.Errorf("all together: got %+v, want %+v", got, want)
	}
}

// A field that is dropped on the way would go unnoticed if two fields were mixed up with each
// other, so each is also tried alone.
func TestEachFieldAloneComesBack(t *testing.T) {
	for _, c := range everyCommand {
		eachLeaf(reflect.TypeOf(c).Elem(), nil, func(path []int) {
			v := reflect.New(reflect.TypeOf(c).Elem())
			if a, ok := v.Interface().(*locktable.Acquire); ok {
				a.Claims = []locktable.Claim{} // an entry has no other form of none
			}
			seed := int64(40)
			fill(v.Elem().FieldByIndex(path), &seed)
			want := Entry{Version: 1, Commands: []locktable.Command{v.Interface().(locktable.Command)}}
			if got := roundTrip(t, want); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got.Commands[0], want.Commands[0])
			}
		})
	}
}

func eachLeaf(typ reflect.Type, path []int, do func(path []int)) {
	if typ.Kind() != reflect.Struct {
		do(path)
		return
	}
	for i := range typ.NumField() {
		eachLeaf(typ.Field(i).Type, append(append([]int(nil), path...), i), do)
	}
}

func TestEntryWithoutCommandsComesBack(t *testing.T) {
	want := Entry{Proposal: 3, Version: 1, Stamp: 77, Commands: []locktable.Command{}}
	if got := roundTrip(t, want); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestEveryFlippedBitOfAnEntryIsNoticed(t *testing.T) {
	frame, err := Encode(Entry{Version: 1, Commands: []locktable.Command{filled(&locktable.Acquire{}, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(frame) * 8 {
		bad := bytes.Clone(frame)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := Decode(bad); !isKnown(err) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	for n := range frame {
		if _, err := Decode(frame[:n]); !isDamage(err) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestEntryOfANewerVersionIsNoDamage(t *testing.T) {
	later, err := Encode(Entry{Version: SemanticsMax + 1})
	if err != nil {
		t.Fatal(err)
	}
	frame, err := Encode(Entry{Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	frame[0]++
	for name, f := range map[string][]byte{"semantics": later, "frame": frame} {
		_, err := Decode(f)
		var n newer
		if !errors.As(err, &n) || isDamage(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzDecodeNeverPanics(f *testing.F) {
	for i, c := range everyCommand {
		frame, err := Encode(Entry{Version: 1, Commands: []locktable.Command{filled(c, int64(i))}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame[frameHead:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		frame := framed(body)
		e, err := Decode(frame)
		if err != nil {
			return
		}
		if again := roundTrip(t, e); !reflect.DeepEqual(again, e) {
			t.Errorf("%+v became %+v", e, again)
		}
	})
}

// framed puts a valid head before the bytes of an entry.
func framed(body []byte) []byte {
	frame := append(make([]byte, frameHead), body...)
	frame[0] = frameVersion
	binary.BigEndian.PutUint32(frame[1:], crc32.Checksum(body, castagnoli))
	return frame
}

func BenchmarkEncode(b *testing.B) {
	e := benchEntry()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	frame, err := Encode(benchEntry())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(frame); err != nil {
			b.Fatal(err)
		}
	}
}

// benchEntry has 64 acquires and 64 releases.
func benchEntry() Entry {
	e := Entry{Version: 1, Stamp: 1_000_000}
	for i := range 64 {
		caller := locktable.Caller{Principal: "anonymous", Session: 17, Request: uint64(1000 + i), Acked: 990}
		e.Commands = append(e.Commands,
			&locktable.Acquire{Caller: caller, Owner: "7", WaitLimit: 5000,
				Claims: []locktable.Claim{{Name: "orders/12345678", Mode: locktable.X}}},
			&locktable.Release{Caller: caller, Grant: 1<<48 + locktable.GrantID(i)})
	}
	return e
}
