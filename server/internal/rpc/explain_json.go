package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// explainJSON says, for a person with curl, why JSON could not be read as a message: where it is
// broken, which field is not known or given twice, or which value is of the wrong kind or size.
func explainJSON(data []byte, message protoreflect.MessageDescriptor) *v1.Error {
	if len(bytes.TrimSpace(data)) == 0 {
		return place{}.invalid("body", "empty", "a JSON object, at least {}")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return brokenJSON(data, err)
	}
	e := explainer{data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	e.decoder.UseNumber()
	if detail := e.message(e.next(), message, ""); detail != nil {
		return detail
	}
	return notA(message)
}

// notA is the error for a body of which nothing more is known.
func notA(message protoreflect.MessageDescriptor) *v1.Error {
	return place{}.invalid("body", "not a "+string(message.FullName()), "")
}

// brokenJSON is the error for JSON that is no JSON.
func brokenJSON(data []byte, err error) *v1.Error {
	offset := int64(len(data))
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = min(syntax.Offset, offset)
	}
	before := data[:offset]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1)
	detail := place{}.invalid("body",
		fmt.Sprintf("not JSON at line %d, column %d: %s", line, max(column, 1), err), "")
	detail.Hint = "check the quotes, commas and braces around that place"
	return detail
}

// explainer walks through JSON, which is known to be well-formed, beside the description of the
// message that it should be.
type explainer struct {
	data    []byte
	decoder *json.Decoder
	raw     []byte // the last token as it was written
}

// next gives the next token. There is one: the JSON is well-formed.
func (e *explainer) next() json.Token {
	from := e.decoder.InputOffset()
	token, err := e.decoder.Token()
	if err != nil {
		return nil
	}
	e.raw = bytes.TrimLeft(e.data[from:e.decoder.InputOffset()], " \t\r\n,:")
	return token
}

// message walks over a value that should be a message, and begins with token.
func (e *explainer) message(token json.Token, message protoreflect.MessageDescriptor, path string) *v1.Error {
	if token != json.Delim('{') {
		return place{}.invalid(orBody(path), describe(token)+" where an object should be", "")
	}
	given := map[protoreflect.FullName]protoreflect.FieldDescriptor{} // by field, and by oneof
	for e.decoder.More() {
		name, _ := e.next().(string)
		field := fieldByName(message, name)
		if field == nil {
			return unknownField(message, path, name)
		}
		at := join(path, string(field.Name()))
		if given[field.FullName()] != nil {
			return place{}.invalid(at, "given twice", "at most once")
		}
		given[field.FullName()] = field
		token := e.next()
		if token == nil {
			continue // null leaves a field unset
		}
		if of := field.ContainingOneof(); of != nil {
			if other := given[of.FullName()]; other != nil {
				return place{}.invalid(at, "given beside "+string(other.Name()), oneOf(of))
			}
			given[of.FullName()] = field
		}
		if detail := e.field(token, field, at); detail != nil {
			return detail
		}
	}
	e.next() // the end
	return nil
}

// field walks over the value of a field.
func (e *explainer) field(token json.Token, field protoreflect.FieldDescriptor, path string) *v1.Error {
	if !field.IsList() {
		return e.element(token, field, path)
	}
	if token != json.Delim('[') {
		return place{}.invalid(path, describe(token)+" where a list should be", "")
	}
	for i := 0; e.decoder.More(); i++ {
		if detail := e.element(e.next(), field, fmt.Sprintf("%s[%d]", path, i)); detail != nil {
			return detail
		}
	}
	e.next() // the end
	return nil
}

func (e *explainer) element(token json.Token, field protoreflect.FieldDescriptor, path string) *v1.Error {
	message := field.Message()
	if message != nil && message.FullName() != "google.protobuf.Duration" {
		return e.message(token, message, path)
	}
	if _, composed := token.(json.Delim); !composed && e.accepted(field) {
		return nil
	}
	switch {
	case message != nil:
		return durationValue(field, token, path)
	case field.Enum() != nil:
		return enumValue(field.Enum(), token, path)
	case field.Kind() == protoreflect.StringKind:
		return e.textValue(token, path)
	case field.Kind() == protoreflect.BoolKind:
		return place{}.invalid(path, describe(token)+" where true or false should be", "")
	}
	return numberValue(field, token, path)
}

// accepted asks the parser itself whether it takes the last token as the value of a field.
func (e *explainer) accepted(field protoreflect.FieldDescriptor) bool {
	form := `{%q:%s}`
	if field.IsList() {
		form = `{%q:[%s]}`
	}
	body := fmt.Appendf(nil, form, field.JSONName(), e.raw)
	return protojson.Unmarshal(body, dynamicpb.NewMessage(field.ContainingMessage())) == nil
}

func (e *explainer) textValue(token json.Token, path string) *v1.Error {
	problem := describe(token) + " where a text should be"
	if _, ok := token.(string); ok {
		problem = "a broken escape"
		if !utf8.Valid(e.raw) {
			problem = "not valid UTF-8"
		}
	}
	return place{}.invalid(path, problem, "")
}

// numberValue is the error for a value that is no integer, or none of the size of its field.
func numberValue(field protoreflect.FieldDescriptor, token json.Token, path string) *v1.Error {
	text, _ := token.(string)
	if number, ok := token.(json.Number); ok {
		text = number.String()
	}
	var err error
	var limit string
	switch field.Kind() {
	case protoreflect.Int32Kind:
		_, err = strconv.ParseInt(text, 10, 32)
		limit = fmt.Sprintf("from %d to %d", math.MinInt32, math.MaxInt32)
	case protoreflect.Int64Kind:
		_, err = strconv.ParseInt(text, 10, 64)
		limit = fmt.Sprintf("from %d to %d", math.MinInt64, math.MaxInt64)
	case protoreflect.Uint32Kind:
		_, err = strconv.ParseUint(strings.TrimPrefix(text, "-"), 10, 32)
		limit = fmt.Sprintf("from 0 to %d", uint32(math.MaxUint32))
	case protoreflect.Uint64Kind:
		_, err = strconv.ParseUint(strings.TrimPrefix(text, "-"), 10, 64)
		limit = fmt.Sprintf("from 0 to %d", uint64(math.MaxUint64))
	}
	switch field.Name() {
	case "priority":
		limit = priorityLimit
	case "page_size":
		limit = pageSizeLimit
	}
	problem := describe(token) + " where a whole number should be"
	if errors.Is(err, strconv.ErrRange) || err == nil && strings.HasPrefix(text, "-") {
		problem = describe(token) + " is out of range"
	}
	return place{}.invalid(path, problem, limit)
}

func enumValue(enum protoreflect.EnumDescriptor, token json.Token, path string) *v1.Error {
	var known []string
	for i := 1; i < enum.Values().Len(); i++ {
		known = append(known, string(enum.Values().Get(i).Name()))
	}
	reason := v1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT
	if enum.FullName() == "holdfast.v1.Mode" {
		reason = v1.ErrorReason_ERROR_REASON_INVALID_MODE
	}
	detail := place{}.refuse(reason, path, describe(token)+" is not one of its values", "")
	detail.Hint = "one of " + strings.Join(known, ", ")
	return detail
}

// durationValue is the error for a value that is no duration, or one that is longer than the
// parser takes, which is longer than any field may be.
func durationValue(field protoreflect.FieldDescriptor, token json.Token, path string) *v1.Error {
	allowed := spans[string(field.Name())]
	text, _ := token.(string)
	number, ok := strings.CutSuffix(text, "s")
	if ok && strings.Trim(number, "-.0123456789") == "" {
		// A number too large to be read is infinite, and an error that says what is known.
		value, _ := strconv.ParseFloat(number, 64)
		switch {
		case value > allowed.most.Seconds():
			return place{}.above(path, clip(text), allowed)
		case value < -allowed.most.Seconds():
			return place{}.negative(path, allowed)
		}
	}
	detail := place{}.refuse(allowed.reason, path, describe(token)+" is not a duration", "")
	detail.Hint = `write seconds, like "30s" or "0.5s"`
	return detail
}

func fieldByName(message protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if field := message.Fields().ByJSONName(name); field != nil {
		return field
	}
	return message.Fields().ByName(protoreflect.Name(name))
}

func unknownField(message protoreflect.MessageDescriptor, path, name string) *v1.Error {
	known := make([]string, message.Fields().Len())
	for i := range known {
		known[i] = message.Fields().Get(i).JSONName()
	}
	slices.Sort(known)
	detail := place{}.invalid(join(path, clip(name)), "unknown field", "")
	detail.Hint = "the fields are " + strings.Join(known, ", ")
	if len(known) == 0 {
		detail.Hint = "there are no fields here"
	}
	return detail
}

// oneOf names the fields of which one may be given.
func oneOf(of protoreflect.OneofDescriptor) string {
	names := make([]string, of.Fields().Len())
	for i := range names {
		names[i] = string(of.Fields().Get(i).Name())
	}
	return "one of " + strings.Join(names, ", ")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func orBody(path string) string {
	if path == "" {
		return "body"
	}
	return path
}

// describe names a JSON value in an error, long ones in part.
func describe(token json.Token) string {
	switch t := token.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("%q", clip(t))
	case json.Delim:
		if t == '[' {
			return "a list"
		}
		return "an object"
	}
	return clip(fmt.Sprint(token))
}

func clip(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}
