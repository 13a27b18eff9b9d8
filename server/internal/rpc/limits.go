package rpc

import (
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

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

// span is the range of a duration field, and the reason to refuse what is out of it.
type span struct {
	least, most time.Duration
	reason      v1.ErrorReason
}

// spans are those of all duration fields of requests, by name.
var spans = map[string]span{
	"ttl":        {time.Second, day, v1.ErrorReason_ERROR_REASON_INVALID_TTL},
	"wait":       {0, day, v1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT},
	"lease":      {100 * time.Millisecond, 30 * day, v1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT},
	"max_hold":   {100 * time.Millisecond, 30 * day, v1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT},
	"lock_delay": {0, time.Minute, v1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT},
}

// How limits on integers read.
const (
	priorityLimit = "from -100 to 100"
	pageSizeLimit = "at most 1000"
)

const ttlDefault = 30 * time.Second
