package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1/peerv1connect"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

// peerBodyBytesMax bounds a message between nodes: a merged forward and what lies around it.
const peerBodyBytesMax = 8 << 20

// serviceNames are the services of the client port.
var serviceNames = []string{
	holdfastv1connect.AdminServiceName,
	holdfastv1connect.ClusterServiceName,
	holdfastv1connect.LockServiceName,
	holdfastv1connect.SessionServiceName,
}

// Handler serves clients: Connect, gRPC and gRPC-Web, health and reflection.
func (s *Services) Handler() http.Handler {
	options := connect.WithHandlerOptions(
		codecOptions(),
		s.commonOptions(bodyBytesMax),
		connect.WithInterceptors(observer{s}),
	)
	d := door{methods: map[string]http.Handler{}, errors: connect.NewErrorWriter(codecOptions())}
	d.open(holdfastv1connect.NewLockServiceHandler(lockService{s}, options))
	d.open(holdfastv1connect.NewSessionServiceHandler(sessionService{s}, options))
	d.open(holdfastv1connect.NewAdminServiceHandler(adminService{s}, options))
	d.open(holdfastv1connect.NewClusterServiceHandler(clusterService{s}, options))
	d.foreign = http.NewServeMux()
	foreign := s.commonOptions(bodyBytesMax)
	d.foreign.Handle(grpchealth.NewHandler(health{s}, foreign))
	reflector := grpcreflect.NewStaticReflector(append(slices.Clone(serviceNames), grpchealth.HealthV1ServiceName)...)
	d.foreign.Handle(grpcreflect.NewHandlerV1(reflector, foreign))
	d.foreign.Handle(grpcreflect.NewHandlerV1Alpha(reflector, foreign))
	return d
}

// PeerHandler serves the other nodes.
func (s *Services) PeerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(peerv1connect.NewPeerServiceHandler(peerService{s}, s.commonOptions(peerBodyBytesMax)))
	return http.MaxBytesHandler(mux, 2*peerBodyBytesMax)
}

// commonOptions bound what is read, keep compression off (a compressor costs more than our small
// messages are worth, and a bomb cannot be sent to a server that unpacks nothing), and turn panics
// into errors.
func (s *Services) commonOptions(bytesMax int) connect.HandlerOption {
	return connect.WithHandlerOptions(
		connect.WithReadMaxBytes(bytesMax),
		connect.WithCompression("gzip", nil, nil),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, cause any) error {
			s.Logger.Error("a call panicked", "procedure", spec.Procedure, "cause", fmt.Sprint(cause),
				"stack", string(debug.Stack()))
			return toConnect(errors.New("panic"))
		}),
	)
}

// health tells load balancers whether to send calls here.
type health struct{ *Services }

func (h health) Check(_ context.Context, r *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if r.Service != "" && !slices.Contains(serviceNames, r.Service) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("no service %q", clip(r.Service)))
	}
	status := grpchealth.StatusServing
	if h.stopping.Err() != nil || !h.Ready() {
		status = grpchealth.StatusNotServing
	}
	return &grpchealth.CheckResponse{Status: status}, nil
}

// door looks at requests before connect does, and gives those that would get a bare status code a
// text that says what is wrong with them.
type door struct {
	methods map[string]http.Handler // of our services, by path
	foreign *http.ServeMux          // health and reflection
	errors  *connect.ErrorWriter
}

// open lets in the calls of a service of the contract.
func (d door) open(path string, handler http.Handler) {
	service := protoreflect.FullName(strings.Trim(path, "/"))
	descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(service)
	if err != nil {
		panic(err) // it is compiled in
	}
	methods := descriptor.(protoreflect.ServiceDescriptor).Methods()
	for i := range methods.Len() {
		method := methods.Get(i)
		h := handler
		if method.IsStreamingServer() {
			h = withWriter(h)
		}
		d.methods[path+string(method.Name())] = h
	}
}

// handler gives what serves a path; nil if there is no such method.
func (d door) handler(r *http.Request) http.Handler {
	if h := d.methods[r.URL.Path]; h != nil {
		return h
	}
	if h, pattern := d.foreign.Handler(r); pattern != "" {
		return h
	}
	return nil
}

func (d door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler := d.handler(r)
	if handler == nil {
		d.refuse(w, r, http.StatusNotFound, connect.NewError(connect.CodeUnimplemented,
			fmt.Errorf("%s is no method of this server (hint: try POST %s with a JSON body)",
				clip(r.URL.Path), holdfastv1connect.LockServiceAcquireProcedure)))
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		d.refuse(w, r, http.StatusMethodNotAllowed, connect.NewError(connect.CodeUnimplemented,
			fmt.Errorf("%s is not served (hint: use POST)", r.Method)))
		return
	}
	contentType := r.Header.Get("Content-Type")
	if !knownContentType(contentType) {
		detail := place{}.invalid("content-type", fmt.Sprintf("%q is not understood", clip(contentType)), "")
		detail.Hint = "send -H 'content-type: application/json'"
		w.Header().Set("Accept-Post", "application/json, application/proto, application/grpc, application/grpc-web")
		d.refuse(w, r, http.StatusUnsupportedMediaType, connectError(detail))
		return
	}
	for _, header := range encodingHeaders {
		if encoding := r.Header.Get(header); encoding != "" && encoding != "identity" {
			d.refuse(w, r, http.StatusUnsupportedMediaType, connect.NewError(connect.CodeUnimplemented,
				fmt.Errorf("%s %q is not unpacked here (hint: send the body as it is)",
					strings.ToLower(header), clip(encoding))))
			return
		}
	}
	if r.ContentLength > bodyBytesMax {
		w.Header().Set("Connection", "close") // the body will not be read
		d.refuse(w, r, http.StatusRequestEntityTooLarge, connectError(place{}.invalid("body",
			fmt.Sprintf("%d bytes", r.ContentLength), fmt.Sprintf("at most %d bytes", bodyBytesMax))))
		return
	}
	if r.ContentLength < 0 {
		// Streams of reflection may be long; each message of theirs is bounded by connect.
		r.Body = http.MaxBytesReader(w, r.Body, 2*bodyBytesMax)
	}
	handler.ServeHTTP(w, r)
}

// encodingHeaders say how a body is packed, in the protocols that we speak.
var encodingHeaders = [...]string{"Content-Encoding", "Connect-Content-Encoding", "Grpc-Encoding"}

// refuse answers in the protocol of a caller that expects a status of its own, and with an HTTP
// status and JSON to all others.
func (d door) refuse(w http.ResponseWriter, r *http.Request, status int, err *connect.Error) {
	contentType := r.Header.Get("Content-Type")
	if !strings.HasPrefix(contentType, "application/grpc") && !strings.HasPrefix(contentType, "application/connect+") {
		w = &withStatus{ResponseWriter: w, status: status}
	}
	_ = d.errors.Write(w, r, err) // it fails only if the caller has gone
}

// withStatus replaces the status of a response.
type withStatus struct {
	http.ResponseWriter
	status int
}

func (w *withStatus) WriteHeader(int) { w.ResponseWriter.WriteHeader(w.status) }

func knownContentType(contentType string) bool {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	switch kind := strings.TrimSpace(kind); kind {
	case "application/json", "application/proto",
		"application/connect+json", "application/connect+proto",
		"application/grpc", "application/grpc+proto", "application/grpc+json",
		"application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json":
		return true
	}
	return false
}

// observer counts the calls of clients.
type observer struct{ *Services }

func (o observer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		start := time.Now()
		response, err := next(ctx, r)
		o.called(ctx, r.Spec().Procedure, time.Since(start), err)
		return response, err
	}
}

func (o observer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (o observer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, stream connect.StreamingHandlerConn) error {
		start := time.Now()
		err := next(ctx, stream)
		o.called(ctx, stream.Spec().Procedure, time.Since(start), err)
		return err
	}
}

func (o observer) called(ctx context.Context, procedure string, took time.Duration, err error) {
	code := "ok"
	if err != nil {
		code = connect.CodeOf(err).String()
	}
	o.Observer.Called(strings.TrimPrefix(procedure, "/holdfast.v1."), code, took)
	if o.Logger.Enabled(ctx, slog.LevelDebug) {
		o.Logger.Debug("call", "procedure", procedure, "code", code, "took", took)
	}
}
