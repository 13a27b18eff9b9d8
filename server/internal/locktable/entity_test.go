package locktable

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"unsafe"
)

// derived names, for each kind of entity, the fields that can be rebuilt and are in no encoding.
// Every other field must be in the encoding, and so in the state hash and in snapshots.
var derived = map[string][]string{
	"globals":     {},
	"session":     {"space", "owners", "kept", "lowest", "waiting", "waits", "grants", "timer", "acquiring", "item"},
	"answer":      {"grant", "links"},
	"grant":       {"holds", "refs", "links"},
	"grantTerms":  {"convert", "timers"},
	"request":     {"space", "owner", "grant", "places", "order", "label", "mine", "timer"},
	"ghost":       {"space", "timer", "item"},
	"nonce":       {},
	"report":      {},
	"backlogItem": {"s", "r", "h"},
}

// HF-10.5: a change of any field of the state changes the state hash.
func TestHashCoversEveryField(t *testing.T) {
	for _, e := range []entity{
		&globals{}, &session{}, &answer{session: &session{}, more: &answerDetails{}},
		&grant{id: 100, owner: &owner{session: &session{}}, grantTerms: &grantTerms{}}, &request{session: &session{}},
		&ghost{}, &nonce{}, &report{}, &backlogItem{},
	} {
		v := reflect.ValueOf(e).Elem()
		name := v.Type().Name()
		left := map[string]bool{}
		for _, field := range derived[name] {
			left[field] = true
		}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if field.Name == "entityNode" || left[field.Name] {
				continue
			}
			t.Run(name+"."+field.Name, func(t *testing.T) {
				for _, leaf := range leaves(t, writable(v.Field(i)), field.Name) {
					before := e.encode(nil)
					leaf.change()
					if bytes.Equal(before, e.encode(nil)) {
						t.Errorf("a change of %s is in no encoding", leaf.path)
					}
				}
			})
		}
	}
}

// HF-10.5: the claims of a grant, which are its holds, are in the state hash.
func TestHashCoversClaims(t *testing.T) {
	hash := func(claims ...Claim) uint64 {
		table := New()
		table.Apply(Batch{Index: 1, Version: 1, Commands: []Command{
			&OpenSession{Namespace: DefaultNamespace, TTL: 60_000},
			&Acquire{Caller: Caller{Session: 1}, Claims: claims},
		}})
		return table.Hash()
	}
	seen := map[uint64]int{}
	for i, claims := range [][]Claim{
		{{"a/b", S}}, {{"a/b", X}}, {{"a/c", S}}, {{"a/b", S}, {"a", S}}, {{"a/b", S}, {"a", IS}}, {{"a/b", S}, {"a", IX}},
	} {
		if other, same := seen[hash(claims...)]; same {
			t.Errorf("claims %d and %d have the same hash", other, i)
		}
		seen[hash(claims...)] = i
	}
}

// A command's texts are pieces of its whole entry: the table keeps copies, or a name of a few bytes
// would keep megabytes.
func TestNoTextOfACommandIsKept(t *testing.T) {
	table := New()
	text := []byte("principal,namespace,metadata,nonce,owner,a/b,granted,cluster,queue,reason")
	at := 0
	next := func() string { // the next word, in the memory of text
		start := at
		for at < len(text) && text[at] != ',' {
			at++
		}
		word := unsafe.String(&text[start], at-start)
		at++
		return word
	}
	principal, namespace := next(), next()
	open := &OpenSession{Principal: principal, Namespace: namespace, TTL: 60_000, Metadata: next(), Nonce: next()}
	owner, name := next(), next()
	caller := Caller{Principal: principal, Session: 1}
	acquire := &Acquire{Caller: caller, Owner: owner, Claims: []Claim{{name, X}}, Metadata: next(), LockDelay: 1}
	cluster := next()
	queue := &Acquire{Caller: caller, Owner: next(), Claims: acquire.Claims, WaitLimit: 1, Metadata: principal}
	cancel := &Cancel{Caller: Caller{Principal: principal}, Namespace: namespace, Nonce: cluster}
	reason := next()
	effects := table.Apply(Batch{Index: 1, Version: 1, Commands: []Command{
		&Bootstrap{ClusterID: cluster}, open, acquire, queue, cancel,
		&Acquire{Caller: caller, Owner: "2", Claims: []Claim{{"c", X}}},
		&RevokeGrant{Grant: 2, Reason: reason},
	}})
	events := fmt.Sprint(effects.Events)
	dump, hash := table.Dump()+table.String(), table.Hash()
	for i := range text {
		text[i] = '!'
	}
	if now := table.Dump() + table.String(); now != dump {
		t.Errorf("the state changed with the text of the commands:\n%s\nis\n%s", dump, now)
	}
	if now := fmt.Sprint(effects.Events); now != events {
		t.Errorf("events changed with the text of the commands:\n%s\nare\n%s", events, now)
	}
	if err := table.Check(); err != nil {
		t.Error(err)
	}
	if table.Hash() != hash {
		t.Error("the hash changed")
	}
}

// writable opens a field that is not exported.
func writable(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}

type leaf struct {
	path   string
	change func()
}

// leaves gives every plain value within a field, with a way to change it.
func leaves(t *testing.T, v reflect.Value, path string) []leaf {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		return []leaf{{path, func() { v.SetBool(!v.Bool()) }}}
	case reflect.String:
		return []leaf{{path, func() { v.SetString(v.String() + "x") }}}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return []leaf{{path, func() { v.SetInt(v.Int() + 1) }}}
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		return []leaf{{path, func() { v.SetUint(v.Uint() + 1) }}}
	case reflect.Struct:
		var all []leaf
		for i := range v.NumField() {
			all = append(all, leaves(t, writable(v.Field(i)), path+"."+v.Type().Field(i).Name)...)
		}
		return all
	case reflect.Slice:
		grow := leaf{path, func() { v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem()))) }}
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		return append(leaves(t, v.Index(0), path+"[0]"), grow)
	case reflect.Pointer:
		switch p := v.Interface().(type) {
		case *session: // encoded by its id
			return []leaf{{path, func() { p.id++ }}}
		case *owner: // encoded by its session and key
			return []leaf{{path, func() { p.session.id++ }}, {path, func() { p.key += "x" }}}
		case *answerDetails:
			return leaves(t, v.Elem(), path)
		case *grantTerms:
			var all []leaf
			for i := range v.Elem().NumField() {
				if name := v.Elem().Type().Field(i).Name; !slices.Contains(derived["grantTerms"], name) {
					all = append(all, leaves(t, writable(v.Elem().Field(i)), path+"."+name)...)
				}
			}
			return all
		}
	}
	t.Fatalf("%s is a %s: say how it is encoded", path, v.Kind())
	return nil
}

// A snapshot holds the state of the moment it was begun, whatever is applied while it is written.
func TestSnapshotBesideApply(t *testing.T) {
	table := New()
	index := uint64(0)
	apply := func(commands ...Command) Effects {
		index++
		return table.Apply(Batch{Index: index, Stamp: Millis(index), Version: 1, Commands: commands})
	}
	apply(&Bootstrap{ClusterID: "c"})
	for range 10 {
		apply(&OpenSession{Namespace: DefaultNamespace, TTL: 3_600_000})
	}
	var grants []GrantID
	for i := range 3 * snapshotChunk {
		e := apply(&Acquire{
			Caller: Caller{Session: SessionID(i%10 + 1), Request: uint64(i/10 + 1)},
			Claims: []Claim{{fmt.Sprintf("a/%d", i), X}}, LockDelay: 1000,
		})
		grants = append(grants, e.Results[0].Grant.ID)
	}
	hash, dump := table.Hash(), table.Dump()

	s := table.Snapshot()
	var file []byte
	for i, more := 0, true; more; i++ {
		file, more = s.Next(file)
		apply(
			&Release{Caller: Caller{Session: SessionID(i%10 + 1)}, Grant: grants[i]},
			&RevokeGrant{Grant: grants[len(grants)-1-i]},
			&OpenSession{Namespace: "other", TTL: 5000},
			&Acquire{Caller: Caller{Session: 1}, Claims: []Claim{{fmt.Sprintf("b/%d", i), S}}},
			&CloseSession{Session: SessionID(10 - i%3)},
		)
		if err := table.Check(); err != nil {
			t.Fatal(err)
		}
	}
	restored, err := Restore(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if restored.Hash() != hash || restored.Dump() != dump {
		t.Errorf("the snapshot holds another state than that of its beginning")
	}
	if err := restored.Check(); err != nil {
		t.Error(err)
	}
	if table.Hash() == hash {
		t.Error("nothing was applied beside the snapshot")
	}
}

// Damaged snapshots are refused, and never bring the process down.
func TestRestoreRefusesDamage(t *testing.T) {
	table := New()
	table.Apply(Batch{Index: 1, Version: 1, Commands: []Command{
		&Bootstrap{ClusterID: "c"}, &OpenSession{Namespace: DefaultNamespace, TTL: 60_000},
		&Acquire{Caller: Caller{Session: 1, Request: 1}, Claims: []Claim{{"a/b", X}}, Lease: 5000},
		&OpenSession{Namespace: DefaultNamespace, TTL: 60_000},
		&Acquire{Caller: Caller{Session: 2, Request: 1}, Claims: []Claim{{"a", S}}, WaitLimit: 5000},
	}})
	var file []byte
	s := table.Snapshot()
	for more := true; more; {
		file, more = s.Next(file)
	}
	for cut := range file {
		if _, err := Restore(bytes.NewReader(file[:cut])); err == nil {
			t.Errorf("cut at %d of %d: restored", cut, len(file))
		}
	}
	for at := range file {
		for bit := range 8 {
			damaged := bytes.Clone(file)
			damaged[at] ^= 1 << bit
			if u, err := Restore(bytes.NewReader(damaged)); err == nil && u.Hash() == table.Hash() {
				t.Errorf("bit %d of byte %d flipped: restored with the same hash", bit, at)
			}
		}
	}
}
