package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// explainJSON says, for a person with curl, why JSON could not be read as a message: where it is
// broken, which field is not known, or which value is of the wrong kind. cause is what the parser
// said; it is the answer if nothing better is found.
func explainJSON(data []byte, message protoreflect.MessageDescriptor, cause error) *v1.Error {
	var at place
	if len(bytes.TrimSpace(data)) == 0 {
		return at.invalid("body", "empty", "a JSON object, at least {}")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return brokenJSON(data, err)
	}
	e := explainer{json.NewDecoder(bytes.NewReader(data))}
	e.decoder.UseNumber()
	if detail := e.value(message, ""); detail != nil {
		return detail
	}
	return at.invalid("body", parserText(cause), "")
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

// parserText takes the mark of the parser, and the spaces by which it varies its texts, out.
func parserText(cause error) string {
	text := strings.ReplaceAll(cause.Error(), "\u00a0", " ")
	text = strings.TrimSpace(strings.TrimPrefix(text, "proto:"))
	if text == "unexpected EOF" {
		// Said of an unpaired surrogate, too; that the JSON ends well is known here.
		return "a text has a broken escape"
	}
	return text
}

// explainer walks through JSON, which is known to be well-formed, beside the description of the
// message that it should be.
type explainer struct{ decoder *json.Decoder }

// next gives the next token. There is one: the JSON is well-formed.
func (e *explainer) next() json.Token {
	token, err := e.decoder.Token()
	if err != nil {
		return nil
	}
	return token
}

// value walks over one value that should be a message.
func (e *explainer) value(message protoreflect.MessageDescriptor, path string) *v1.Error {
	token := e.next()
	if message.FullName() == "google.protobuf.Duration" {
		return durationValue(token, path)
	}
	if token == nil && path != "" {
		return nil // null leaves a field unset
	}
	if token != json.Delim('{') {
		return place{}.invalid(orBody(path), describe(token)+" where an object should be", "")
	}
	for e.decoder.More() {
		name, _ := e.next().(string)
		field := fieldByName(message, name)
		if field == nil {
			return unknownField(message, path, name)
		}
		if detail := e.field(field, join(path, string(field.Name()))); detail != nil {
			return detail
		}
	}
	e.next() // the end
	return nil
}

// field walks over the value of a field.
func (e *explainer) field(field protoreflect.FieldDescriptor, path string) *v1.Error {
	if !field.IsList() {
		return e.element(field, path)
	}
	token := e.next()
	if token == nil {
		return nil
	}
	if token != json.Delim('[') {
		return place{}.invalid(path, describe(token)+" where a list should be", "")
	}
	for i := 0; e.decoder.More(); i++ {
		if detail := e.element(field, fmt.Sprintf("%s[%d]", path, i)); detail != nil {
			return detail
		}
	}
	e.next() // the end
	return nil
}

func (e *explainer) element(field protoreflect.FieldDescriptor, path string) *v1.Error {
	if field.Message() != nil {
		return e.value(field.Message(), path)
	}
	token := e.next()
	return scalarValue(field, token, path)
}

// scalarValue tells whether a value is of the kind that a field asks for. Numbers out of range are
// left to the parser's own text.
func scalarValue(field protoreflect.FieldDescriptor, token json.Token, path string) *v1.Error {
	if token == nil {
		return nil
	}
	var wanted string
	switch field.Kind() {
	case protoreflect.StringKind:
		if _, ok := token.(string); !ok {
			wanted = "a text"
		}
	case protoreflect.BoolKind:
		if _, ok := token.(bool); !ok {
			wanted = "true or false"
		}
	case protoreflect.EnumKind:
		return enumValue(field.Enum(), token, path)
	default:
		text, isText := token.(string)
		number, isNumber := token.(json.Number)
		if isNumber {
			text = number.String()
		}
		if (!isText && !isNumber) || !isInteger(text) {
			wanted = "a whole number"
		}
	}
	if wanted == "" {
		return nil
	}
	return place{}.invalid(path, describe(token)+" where "+wanted+" should be", "")
}

func isInteger(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

func enumValue(enum protoreflect.EnumDescriptor, token json.Token, path string) *v1.Error {
	if _, ok := token.(json.Number); ok {
		return nil
	}
	name, ok := token.(string)
	if ok && enum.Values().ByName(protoreflect.Name(name)) != nil {
		return nil
	}
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

func durationValue(token json.Token, path string) *v1.Error {
	text, ok := token.(string)
	if token == nil || ok && isSeconds(text) {
		return nil
	}
	detail := place{}.invalid(path, describe(token)+" is not a duration", "")
	detail.Hint = `write seconds, like "30s" or "0.5s"`
	return detail
}

func isSeconds(text string) bool {
	number, ok := strings.CutSuffix(text, "s")
	whole, fraction, _ := strings.Cut(number, ".")
	return ok && isInteger(whole) && strings.Trim(fraction, "0123456789") == "" && len(fraction) <= 9
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
