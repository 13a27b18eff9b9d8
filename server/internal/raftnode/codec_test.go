package raftnode

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
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
	want := Entry{Proposal: 3, Version: 1, Stamp: 77}
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

// The same bytes, and the same understanding of them, as with the generated types.
func TestCodecAgreesWithGeneratedCode(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 14))
	for range 2000 {
		e := randomEntry(random)
		want, err := encodeGenerated(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Encode(e)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%+v\nis written %x\ninstead of %x (%v)", e, got, want, err)
		}
		back, err := Decode(want)
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("got %+v, want %+v (%v)", back, e, err)
		}
	}
}

func randomEntry(random *rand.Rand) Entry {
	e := Entry{Proposal: random.Uint64(), Version: random.Uint32N(SemanticsMax + 1), Stamp: random.Int64()}
	for range random.IntN(100) {
		c := reflect.New(reflect.TypeOf(everyCommand[random.IntN(len(everyCommand))]).Elem())
		randomFields(random, c.Elem())
		e.Commands = append(e.Commands, c.Interface().(locktable.Command))
	}
	return e
}

// randomFields leaves about half of the fields as they are.
func randomFields(random *rand.Rand, v reflect.Value) {
	if v.Kind() != reflect.Struct && random.IntN(2) == 0 {
		return
	}
	bits := random.Uint64() >> random.IntN(64)
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			randomFields(random, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+random.IntN(5), 5))
		v.SetCap(v.Len())
		for i := range v.Len() {
			randomFields(random, v.Index(i))
		}
	case reflect.String:
		v.SetString(strings.Repeat("ü", random.IntN(1<<random.IntN(9))) + "x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64, reflect.Int32:
		v.SetInt(int64(bits) * (1 - 2*int64(random.IntN(2))) << (64 - v.Type().Bits()) >> (64 - v.Type().Bits()))
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(bits << (64 - v.Type().Bits()) >> (64 - v.Type().Bits()))
	case reflect.Uint8: // Mode, DeadlockAction
		most := uint64(locktable.X)
		if v.Type() == reflect.TypeFor[locktable.DeadlockAction]() {
			most = uint64(locktable.ReleaseOwner)
		}
		v.SetUint(bits % (most + 1))
	default:
		panic("a field of a kind that randomFields does not know: " + v.Kind().String())
	}
}

func TestEntryWithTextThatIsNotUTF8IsNeitherWrittenNorRead(t *testing.T) {
	bad := Entry{Version: 1, Commands: []locktable.Command{&locktable.RevokeGrant{Reason: "a\xffb"}}}
	if frame, err := Encode(bad); err == nil {
		t.Errorf("it was written: %x", frame)
	}
	if _, err := Decode(framed([]byte{0x1a, 6, 0x52, 4, 0x12, 2, 'a', 0xff})); !isDamage(err) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownFieldsAreSkippedAndUnknownCommandsAreNot(t *testing.T) {
	want := Entry{Version: 1, Commands: []locktable.Command{&locktable.RenewSession{Principal: "p", Session: 9}}}
	group := []byte{0x2b, 0x08, 1, 0x2c} // field 5, by start and end
	renewal := append([]byte{0x1a, 0, 0x1a, 4, 0x08, 9, 0x10, 7, 0x0a, 1, 'p', 0x7d, 1, 2, 3, 4}, group...)
	renewal[1] = byte(len(renewal) - 2)
	got, err := Decode(framed(append([]byte{0x08, 1, 0x2a, 1, 'x'}, renewal...)))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v (%v)", got, want, err)
	}
	var n newer
	if _, err := Decode(framed([]byte{0x1a, 3, 0x82, 0x01, 0})); !errors.As(err, &n) {
		t.Errorf("command 16: %v", err)
	}
	if _, err := Decode(framed([]byte{0x1a, 6, 0x2a, 4, 0x2a, 2, 0x10, 6})); !errors.As(err, &n) {
		t.Errorf("mode 6: %v", err)
	}
}

// What comes after the first thing that cannot be read is not looked at: it once took time and memory
// by the square of the commands that followed.
func TestLongEntryThatIsBadAtItsBeginningFailsAtOnce(t *testing.T) {
	empty := bytes.Repeat([]byte{0x1a, 0}, 200_000)
	var n newer
	if _, err := Decode(framed(empty)); !errors.As(err, &n) {
		t.Errorf("got %v", err)
	}
	claims := bytes.Repeat([]byte{0x2a, 2, 0x10, 6}, 50_000)
	acquire := append([]byte{0x2a, 0xc0, 0x9a, 0x0c}, claims...)
	if _, err := Decode(framed(append([]byte{0x1a, 0xc4, 0x9a, 0x0c}, acquire...))); !errors.As(err, &n) {
		t.Errorf("got %v", err)
	}
}

// FuzzDecode also sees that bytes mean what they mean to the generated code, however odd they are.
func FuzzDecode(f *testing.F) {
	for i, c := range everyCommand {
		frame, err := Encode(Entry{Version: 1, Commands: []locktable.Command{filled(c, int64(i))}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame[frameHead:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := Decode(framed(body))
		want, wrong := decodeGenerated(body)
		if (err == nil) != (wrong == nil) || isKnown(err) != isKnown(wrong) {
			t.Fatalf("got %v, want %v", err, wrong)
		}
		if !reflect.DeepEqual(e, want) {
			t.Fatalf("got %+v, want %+v", e, want)
		}
		if err != nil {
			return
		}
		if again := roundTrip(t, e); !reflect.DeepEqual(again, e) {
			t.Errorf("%+v became %+v", e, again)
		}
	})
}

// The generated types are the ones to beat.
func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{2, 128, 1024} {
		e := benchEntry(n)
		bench(b, "straight", n, func() (any, error) { return Encode(e) })
		bench(b, "generated", n, func() (any, error) { return encodeGenerated(e) })
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{2, 128, 1024} {
		frame, err := Encode(benchEntry(n))
		if err != nil {
			b.Fatal(err)
		}
		bench(b, "straight", n, func() (any, error) { return Decode(frame) })
		bench(b, "generated", n, func() (any, error) { return decodeGenerated(frame[frameHead:]) })
	}
}

// cpuTime is what the process has used, which says more than the clock when others are at work too.
func cpuTime(b *testing.B) int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

func bench(b *testing.B, name string, commands int, do func() (any, error)) {
	b.Run(fmt.Sprintf("commands=%d/%s", commands, name), func(b *testing.B) {
		b.ReportAllocs()
		before := cpuTime(b)
		for b.Loop() {
			if _, err := do(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*commands), "cpu-ns/command")
	})
}

// benchEntry has n commands: acquires and releases in turn.
func benchEntry(n int) Entry {
	e := Entry{Version: 1, Stamp: 1_000_000}
	for i := range n / 2 {
		caller := locktable.Caller{Principal: "anonymous", Session: 17, Request: uint64(1000 + i), Acked: 990}
		e.Commands = append(e.Commands,
			&locktable.Acquire{Caller: caller, Owner: "7", WaitLimit: 5000,
				Claims: []locktable.Claim{{Name: "orders/12345678", Mode: locktable.X}}},
			&locktable.Release{Caller: caller, Grant: 1<<48 + locktable.GrantID(i)})
	}
	return e
}
