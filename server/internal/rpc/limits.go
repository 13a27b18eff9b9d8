package rpc

import "time"

// Limits on what a request may carry (HF-12). Limits that Apply tests are in locktable.Limits.
const (
	claimsMax        = 64
	operationsMax    = 1024
	executeBytesMax  = 256 << 10
	metadataBytesMax = 4 << 10
	ownerBytesMax    = 128
	nonceBytesMax    = 128
	priorityMax      = 100
	pageSizeDefault  = 100
	pageSizeMax      = 1000
	pageTokenMax     = 1 << 10
	cursorBytesMax   = 256
	nodeIDBytesMax   = 128
	addressBytesMax  = 256

	// bodyBytesMax bounds a request as it is read, before it is understood. JSON takes several
	// times the room of the binary form, which executeBytesMax counts.
	bodyBytesMax = 1 << 20
	// jsonDepthMax bounds the nesting of JSON; our deepest message has seven levels.
	jsonDepthMax = 32
)

const day = 24 * time.Hour

// span is the range of a duration field.
type span struct{ least, most time.Duration }

var (
	ttlSpan       = span{time.Second, day}
	waitSpan      = span{0, day}
	holdSpan      = span{100 * time.Millisecond, 30 * day} // lease and max_hold
	lockDelaySpan = span{0, time.Minute}
)

const ttlDefault = 30 * time.Second
