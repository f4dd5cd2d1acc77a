package service_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"micromesh/pkg/errs"
	"micromesh/user/service"
)

func verifying(c *service.Config) { c.VerifyContacts = true }

// send asks for a code, and gives a proof with it.
func (w *world) send(mail string) *service.ContactProof {
	w.Helper()
	sent, err := w.SendCode(w.ctx, service.Caller{IP: "1.1.1.1"}, "", "email", mail)
	if err != nil {
		w.Fatal(err)
	}
	if !w.test && (sent.Code != "" || sent.Mail.Text != "") || sent.ID == "" {
		w.Errorf("anybody is told %+v", sent)
	}
	return &service.ContactProof{Platform: "email", Handle: mail, CodeID: sent.ID, Code: w.code()}
}

func (w *world) byCode(p *service.ContactProof) (service.Token, error) {
	return w.Login(w.ctx, "1.1.1.1", service.Credentials{Contact: p})
}

func TestCodes(t *testing.T) {
	w := newWorld(t)
	joe := w.as(w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Contact: w.send("joe@x.example")})))
	p := w.send("joe@x.example")
	if got := w.must(w.byCode(p)); got.UserID != joe.UserID {
		t.Error("the code signs in to another account")
	}
	_, err := w.byCode(p)
	w.want("the code again", err, errs.Unauthenticated, "INVALID_CODE")
	if me, err := w.ReadSelf(w.ctx, joe, false); err != nil || !me.Contacts[0].Verified {
		t.Errorf("the contact is not verified: %v, %v", me.Contacts, err)
	}

	p = w.send("joe@x.example")
	w.pass(10*time.Minute + time.Second)
	_, err = w.byCode(p)
	w.want("a code that has expired", err, errs.Unauthenticated, "INVALID_CODE")

	p = w.send("ann@x.example")
	_, err = w.byCode(&service.ContactProof{Platform: "email", Handle: "joe@x.example", CodeID: p.CodeID, Code: p.Code})
	w.want("another's code", err, errs.Unauthenticated, "INVALID_CODE")
	ann := w.must(w.byCode(p)) // the contact had no holder
	if again := w.must(w.byCode(w.send("ann@x.example"))); ann.UserID == joe.UserID || again.UserID != ann.UserID {
		t.Error("a proved contact has no separate account")
	}
}

func TestCodeSurvivesFewTries(t *testing.T) {
	for tries, good := range map[int]bool{5: true, 6: false} {
		w := newWorld(t)
		w.registerWith("joe", "joe@x.example")
		p := w.send("joe@x.example")
		wrong := *p
		wrong.Code = "000000"
		if p.Code == wrong.Code {
			wrong.Code = "000001"
		}
		for range tries {
			_, err := w.byCode(&wrong)
			w.want("a wrong code", err, errs.Unauthenticated, "INVALID_CODE")
		}
		_, err := w.byCode(p)
		if good {
			w.fine(fmt.Sprint("the right one after ", tries), err)
		} else {
			w.want(fmt.Sprint("the right one after ", tries), err, errs.Unauthenticated, "INVALID_CODE")
		}
	}
}

func TestCodesAreLimited(t *testing.T) {
	w := newWorld(t)
	ask := func(ip, mail string) error {
		_, err := w.SendCode(w.ctx, service.Caller{IP: ip}, "", "email", mail)
		return err
	}
	for i := range 5 {
		w.fine("send", ask(fmt.Sprint("1.1.1.", i), "joe@x.example"))
	}
	w.want("the sixth to a contact", ask("2.2.2.2", "JOE@x.example"), errs.TooMany)
	for i := range 20 {
		w.fine("send", ask("3.3.3.3", fmt.Sprintf("a%d@x.example", i)))
	}
	w.want("the 21st of an address", ask("3.3.3.3", "b@x.example"), errs.TooMany)
	if len(w.mails) != 25 {
		t.Errorf("%d mails were sent", len(w.mails))
	}
	w.pass(15*time.Minute + time.Second)
	w.fine("later", ask("3.3.3.3", "joe@x.example"))
	_, err := w.SendCode(w.ctx, service.Caller{IP: "1.1.1.1"}, "", "phone", "123")
	w.want("to a phone", err, errs.Invalid)
	_, err = w.SendCode(w.ctx, service.Caller{IP: "1.1.1.1"}, "none", "email", "joe@x.example")
	w.want("of an unknown app", err, errs.NotFound)
}

func TestCodeIsToldToAdmins(t *testing.T) {
	w := newWorld(t)
	sent, err := w.SendCode(w.ctx, w.admin, "", "email", "joe@x.example")
	if err != nil || sent.Code != w.code() || !strings.Contains(sent.Mail.Text, sent.Code) || sent.From != "mesh@x.example" {
		t.Errorf("an admin is told %+v, %v", sent, err)
	}
}

func TestVerifiedContacts(t *testing.T) {
	w := newWorld(t, verifying)
	register := func(slug string, p *service.ContactProof) (service.Token, error) {
		return w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: slug, Contact: p, Password: password(slug)})
	}
	_, err := register("joe", &service.ContactProof{Platform: "email", Handle: "joe@x.example"})
	w.want("without a code", err, errs.Invalid)
	wrong := w.send("joe@x.example")
	wrong.Code = "x"
	_, err = register("joe", wrong)
	w.want("with a wrong code", err, errs.Unauthenticated, "INVALID_CODE")
	joe := w.as(w.must(register("joe", w.send("joe@x.example"))))
	if me, err := w.ReadSelf(w.ctx, joe, false); err != nil || len(me.Contacts) != 1 || !me.Contacts[0].Verified {
		t.Errorf("the contact: %+v, %v", me.Contacts, err)
	}
	ann := w.as(w.must(w.byCode(w.send("ann.lee@x.example"))))
	if !strings.HasPrefix(ann.Slug, "ann-lee-") {
		t.Errorf("the account that was made has the slug %s", ann.Slug)
	}
	if again := w.must(w.byCode(w.send("ann.lee@x.example"))); again.UserID != ann.UserID {
		t.Error("a second account was made")
	}
}

func TestVerifiedHolderTakesContact(t *testing.T) {
	w := newWorld(t)
	squatter := w.registerWith("squatter", "joe@x.example")
	joe := w.as(w.must(w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Contact: w.send("joe@x.example")})))
	if me, err := w.ReadSelf(w.ctx, joe, false); err != nil || len(me.Contacts) != 1 {
		t.Errorf("who proved it holds %v, %v", me.Contacts, err)
	}
	if me, err := w.ReadSelf(w.ctx, squatter, false); err != nil || len(me.Contacts) != 0 {
		t.Errorf("who did not holds %v, %v", me.Contacts, err)
	}
}

// Errors about a contact name the fields of the call.
func TestErrorsOfContactsNameFieldsOfTheCall(t *testing.T) {
	w := newWorld(t)
	sends := func(platform, handle string) error {
		_, err := w.SendCode(w.ctx, service.Caller{IP: "1.1.1.1"}, "", platform, handle)
		return err
	}
	registers := func(platform, handle string) error {
		_, err := w.Register(w.ctx, "1.1.1.1", service.Registration{Slug: "joe", Password: "long enough", Contact: &service.ContactProof{Platform: platform, Handle: handle}})
		return err
	}
	creates := func(platform, handle string) error {
		good := service.Contact{Platform: "email", Handle: "ann@x.example"}
		_, err := w.CreateUser(w.ctx, w.admin, service.NewAccount{Slug: "joe", Contacts: []service.Contact{good, {Platform: platform, Handle: handle}}})
		return err
	}
	for _, c := range []struct {
		call                    func(platform, handle string) error
		platform, handle, field string
		says                    string
	}{
		{sends, "", "joe", "contactHandle", "e-mail address"},
		{sends, "E mail", "joe@x.example", "contactPlatform", "must be email: "},
		{sends, "phone", "+1 555", "contactPlatform", "must be email: "},
		{sends, " EMAIL ", "joe", "contactHandle", "e-mail address"},
		{registers, "E mail", "joe@x.example", "contact.platform", "must be email or "},
		{registers, "email", "joe", "contact.id", "e-mail address"},
		{creates, "", "joe", "contacts[1].handle", "e-mail address"},
		{creates, "email", "joe", "contacts[1].handle", "e-mail address"},
	} {
		err := c.call(c.platform, c.handle)
		w.want(c.field, err, errs.Invalid)
		if d := errs.From(err).Details; len(d) != 1 || d[0].Field != c.field || !strings.Contains(d[0].Message, c.says) {
			t.Errorf("%q %q: %v, want it about %s: %q", c.platform, c.handle, d, c.field, c.says)
		}
	}
}
