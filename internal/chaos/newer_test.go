package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"micromesh/internal/cluster"
	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/accounts"
	"micromesh/pkg/host"
	"micromesh/pkg/process"
	"micromesh/pkg/sqldb"
)

// newerEnv is set in processes that are a publisher of a newer build of the user service; its value is a folder for its outbox.
const newerEnv = "CHAOS_NEWER"

// newerType is a type of event that only the newer build has, newerField a field that it has in all events.
const (
	newerType  = 99
	newerField = "newer"
)

// newer are the descriptors of a build whose accounts have another type of event and another field.
func newer() (protoreflect.FileDescriptor, error) {
	file := protodesc.ToFileDescriptorProto(accounts.File_accounts_events_proto)
	for _, e := range file.EnumType {
		if e.GetName() == "EventType" {
			e.Value = append(e.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String("EVENT_TYPE_NEWER"), Number: proto.Int32(newerType)})
		}
	}
	for _, m := range file.MessageType {
		if m.GetName() == "Event" {
			m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
				Name: proto.String(newerField), JsonName: proto.String(newerField), Number: proto.Int32(900),
				Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			})
		}
	}
	return protodesc.NewFile(file, protoregistry.GlobalFiles)
}

// newerEvent is an event of the newer build.
func newerEvent(file protoreflect.FileDescriptor, kind protoreflect.EnumNumber, slug string) *dynamicpb.Message {
	m := dynamicpb.NewMessage(file.Messages().ByName("Event"))
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("type"), protoreflect.ValueOfEnum(kind))
	m.Set(fields.ByName(newerField), protoreflect.ValueOfString("what it says"))
	account := m.Mutable(fields.ByName("account")).Message()
	account.Set(account.Descriptor().Fields().ByName("slug"), protoreflect.ValueOfString(slug))
	return m
}

// playNewer is a publisher of the newer build, where this program was started as one; otherwise it does nothing.
func playNewer() {
	dir := os.Getenv(newerEnv)
	if dir == "" {
		return
	}
	process.Main(process.Service{Name: "user-svc", Health: "off", Config: &newerConfig{}, Open: func(ctx context.Context, h *host.Host) (process.App, error) {
		return openNewer(ctx, h, dir)
	}})
}

type newerConfig struct{}

// Validate implements config.Validator.
func (*newerConfig) Validate() error { return nil }

// newerApp relays an outbox with two events.
type newerApp struct {
	db    *sqldb.DB
	relay *events.Relay
}

func openNewer(ctx context.Context, h *host.Host, dir string) (*newerApp, error) {
	file, err := newer()
	if err != nil {
		return nil, err
	}
	schema, err := events.NewSchema(accounts.Topic, file)
	if err != nil {
		return nil, err
	}
	db, err := sqldb.Open(ctx, sqldb.Config{URL: "sqlite:" + filepath.Join(dir, "outbox.db")})
	if err != nil {
		return nil, err
	}
	if err := sqldb.MigrateOutbox(ctx, db); err != nil {
		return nil, err
	}
	err = db.Write(ctx, func(tx *sqldb.Tx) error {
		for _, e := range []*dynamicpb.Message{
			newerEvent(file, protoreflect.EnumNumber(accounts.EventType_EVENT_TYPE_ACCOUNT_CHANGED), "newer-known"), newerEvent(file, newerType, "newer-unknown"),
		} {
			m, err := events.NewMessage(accounts.Topic, "newer", time.Now(), e)
			if err != nil {
				return err
			}
			if err := tx.Enqueue(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
	return &newerApp{db, events.NewRelay(db, h.JS, h.Signer("user-svc"), h.Logger, schema)}, err
}

// Run implements process.App.
func (a *newerApp) Run(ctx context.Context) error { a.relay.Run(ctx); return nil }

// Close implements process.App.
func (a *newerApp) Close() error { return a.db.Close() }

// Ready implements process.App.
func (a *newerApp) Ready(context.Context) error { return nil }

// TestOldAndNewSchemasSideBySide has two builds of the user service publish at the same time, and reads all of it as consumers of both
// builds do.
func TestOldAndNewSchemasSideBySide(t *testing.T) {
	const row = "old and new event schemas side by side"
	m := start(t, cluster.Config{})
	m.Register(t, "older-svc")
	startNewer(t, m.cluster.Services["user"][0].Env())
	file, err := newer()
	if err != nil {
		t.Fatal(err)
	}
	read, named := 0, map[string]bool{}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	done := errors.New("all are there")
	err = events.Tail(ctx, m.cluster.Host(t.Context()).Events, events.TailOptions{Topics: []string{accounts.Topic}, Since: time.Hour}, func(r events.Record) error {
		read++
		if r.Problem != "" {
			t.Errorf("%s is quarantined: %s", r.Type, r.Problem)
		}
		var e accounts.Event
		err := protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(r.Data, &e)
		if known := !strings.HasSuffix(r.Type, ".NEWER"); known && (err != nil || e.GetType() == accounts.EventType_EVENT_TYPE_UNSPECIFIED) {
			t.Errorf("a consumer of the old build reads %s: %v, %v", r.Type, &e, err)
		}
		if err := protojson.Unmarshal(r.Data, dynamicpb.NewMessage(file.Messages().ByName("Event"))); err != nil {
			t.Errorf("a consumer of the new build reads %s: %v", r.Type, err)
		}
		var all struct {
			Account struct{ Slug string }
			Newer   string
		}
		if err := json.Unmarshal(r.Data, &all); err != nil {
			return err
		}
		if strings.HasPrefix(all.Account.Slug, "newer") != (all.Newer != "") {
			t.Errorf("%s says %s", r.Type, r.Data)
		}
		named[all.Account.Slug] = true
		if named["older-svc"] && named["newer-known"] && named["newer-unknown"] {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Errorf("of the events of both builds there are those of %v: %v", named, err)
	}
	figure(t, row, "%d events of two builds, read as both, none of them quarantined", read)
}

// startNewer starts a publisher of the newer build with the settings of the old one. It ends with the test.
func startNewer(t *testing.T, env map[string]string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), self)
	cmd.Env = []string{newerEnv + "=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	for k, v := range env {
		if k != "MICRO_HEALTH_ADDRESS" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
}
