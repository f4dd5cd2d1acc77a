package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/textproto"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/transport"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
)

// natsMessages calls stock services on go-micro's NATS transport (go-micro v5.30.0: transport/nats, server/rpc_server.go): a
// transport.Message as JSON is published to a node's subject, and its answer to the reply subject. To a node, a reply subject is a
// connection.
//
// go-micro's own end of that transport is not used: it dials NATS for each connection, other programs can read its
// replies, and it waits for ten seconds if the program has left.
type natsMessages struct {
	conn atomic.Pointer[nats.Conn] // nil where such services can't be called

	mu   sync.Mutex
	idle map[string][]*lane // by the node's address
}

// lane is a connection to a node. One request at a time uses it.
type lane struct {
	nc    *nats.Conn
	reply string
	sub   *nats.Subscription
	used  int
	since time.Time // idle
}

// CallGuestsOver sets the connection by which services on go-micro's NATS transport are called: to the NATS server of services in plain
// go-micro. It is not closed by Close.
func (c *Client) CallGuestsOver(nc *nats.Conn) { c.stock.nats.conn.Store(nc) }

func newNATSMessages() *natsMessages { return &natsMessages{idle: map[string][]*lane{}} }

// take returns a lane to an address: an idle one, or a new one.
func (m *natsMessages) take(address string) (*lane, error) {
	nc := m.conn.Load()
	if nc == nil {
		return nil, errors.New("this process has no connection to the NATS server of services in plain go-micro: set MICRO_STOCK_NATS")
	}
	if !nc.IsConnected() { // what waited for the connection would be sent after its caller has given up
		return nil, nats.ErrConnectionReconnecting
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for list := m.idle[address]; len(list) > 0; list = m.idle[address] {
		l := list[len(list)-1]
		m.idle[address] = list[:len(list)-1]
		if l.nc == nc && time.Since(l.since) < stockIdle { // a node forgets a lane after an idle minute
			return l, nil
		}
		l.close()
	}
	delete(m.idle, address)
	reply := nc.NewInbox()
	sub, err := nc.SubscribeSync(reply)
	if err != nil {
		return nil, err
	}
	return &lane{nc: nc, reply: reply, sub: sub}, nil
}

// giveBack keeps a lane whose request was answered.
func (m *natsMessages) giveBack(address string, l *lane) {
	l.since = time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.used >= stockReuse || len(m.idle[address]) >= stockConns {
		l.close()
		return
	}
	m.idle[address] = append(m.idle[address], l)
}

// left closes the lanes to a node.
func (m *natsMessages) left(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.idle[address] {
		l.close()
	}
	delete(m.idle, address)
}

func (m *natsMessages) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for address, list := range m.idle {
		for _, l := range list {
			l.close()
		}
		delete(m.idle, address)
	}
}

func (l *lane) close() { _ = l.sub.Unsubscribe() } // fails only where the connection is closed

// call sends a request to one node. Once it was published it may have arrived, unless NATS reports that the subject has no subscriber.
func (m *natsMessages) call(ctx context.Context, number uint64, address, service, endpoint string, body []byte, md metadata.MD) ([]byte, discovery.Outcome, error) {
	message, err := json.Marshal(natsRequest(ctx, number, service, endpoint, body, md))
	if err != nil {
		return nil, discovery.Failed, errs.New(errs.Internal, "", "%s", generic(errs.Internal)).Because(err)
	}
	l, err := m.take(address)
	if err != nil {
		return nil, discovery.Unreachable, fromStatus(service, status.Error(codes.Unavailable, err.Error()), nil)
	}
	l.used++
	err = l.nc.PublishRequest(address, l.reply, message)
	if errors.Is(err, nats.ErrMaxPayload) {
		m.giveBack(address, l)
		return nil, discovery.Refused, errs.New(errs.TooLarge, "", "a message is larger than NATS takes, %d bytes", l.nc.MaxPayload()).Because(err)
	}
	if err != nil {
		l.close()
		return nil, discovery.Unreachable, fromStatus(service, status.Error(codes.Unavailable, err.Error()), nil)
	}
	answer, err := l.sub.NextMsgWithContext(ctx)
	if err == nil && len(answer.Data) == 0 && answer.Header.Get("Status") == "503" {
		err = nats.ErrNoResponders
	}
	if err != nil {
		l.close() // an answer may come yet
		how := discovery.Failed
		if errors.Is(err, nats.ErrNoResponders) {
			how = discovery.Unreachable
		}
		return nil, how, broken(ctx, service, err)
	}
	m.giveBack(address, l)
	return natsAnswer(service, answer.Data)
}

func natsAnswer(service string, raw []byte) ([]byte, discovery.Outcome, error) {
	var msg transport.Message
	err := json.Unmarshal(raw, &msg)
	switch {
	case err == nil && msg.Header["Micro-Error"] != "":
		return nil, discovery.Refused, fromStock(service, msg.Header["Micro-Error"])
	case err == nil && !json.Valid(msg.Body):
		err = errors.New("its answer is no JSON")
	}
	if err != nil {
		return nil, discovery.Refused, errs.New(errs.Internal, "", "%s", generic(errs.Internal)).Because(err)
	}
	return bytes.TrimSpace(msg.Body), discovery.Answered, nil
}

// natsRequest returns a request as go-micro's client makes it.
func natsRequest(ctx context.Context, number uint64, service, endpoint string, body []byte, md metadata.MD) *transport.Message {
	header := map[string]string{}
	for k, values := range md {
		if len(values) > 0 {
			header[textproto.CanonicalMIMEHeaderKey(k)] = values[len(values)-1]
		}
	}
	header["Content-Type"] = "application/json"
	header["Micro-Service"] = service
	header["Micro-Endpoint"] = endpoint
	header["Micro-Method"] = endpoint
	header["Micro-ID"] = strconv.FormatUint(number, 10)
	if deadline, ok := ctx.Deadline(); ok {
		header["Timeout"] = strconv.FormatInt(max(int64(time.Until(deadline)), 1), 10) // nanoseconds
	}
	return &transport.Message{Header: header, Body: body}
}
