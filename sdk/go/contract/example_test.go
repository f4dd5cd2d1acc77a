package contract_test

import (
	"context"
	"fmt"
	"log"

	"go-micro.dev/v5/client"

	"micromesh/internal/meshtest"
	"micromesh/pkg/errs"
	"micromesh/sdk/go/contract"
	userpb "micromesh/user/proto"
	userfakes "micromesh/user/proto/fakes"
)

// A fake that answers a sign-in with a wrong password by the right kind of error, and one that knows nothing of who is nobody. Test does the
// same in a test, and fails it.
func ExampleCompare() {
	ctx := context.Background()
	mesh, err := meshtest.Open(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer mesh.Stop()
	service := userpb.NewUserService("user-svc", mesh.Host.Client)

	fake := &userfakes.UserService{}
	fake.LoginReturns(nil, errs.New(errs.Unauthenticated, "INVALID_CREDENTIALS", "no"))
	fake.ReadSelfStub = func(context.Context, *userpb.ReadSelfRequest, ...client.CallOption) (*userpb.ReadSelfResponse, error) {
		return nil, errs.Forbiddenf("who are you?") // the service says that nobody is signed in
	}
	differences := contract.Compare[userpb.UserService](ctx, service, fake, []contract.Case[userpb.UserService]{
		{Name: "a wrong password", Call: func(ctx context.Context, c userpb.UserService) (any, error) {
			return c.Login(ctx, &userpb.LoginRequest{AppHost: "unnamed", Slug: "nobody", Password: "wrong-password"})
		}},
		{Name: "nobody", Call: func(ctx context.Context, c userpb.UserService) (any, error) {
			return c.ReadSelf(ctx, &userpb.ReadSelfRequest{})
		}},
	})
	for _, d := range differences {
		fmt.Println(d.Case)
	}
	// Output:
	// nobody
}
