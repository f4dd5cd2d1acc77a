package protogen

import (
	"context"
	"errors"
	"fmt"
	"go/format"
	"io"
	"log"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/maxbrunsfeld/counterfeiter/v6/generator"
	"golang.org/x/tools/go/packages"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	ifaces = regexp.MustCompile(`(?m)^type (\w+(?:Service|Handler|Stream)) interface \{`)
	humps  = regexp.MustCompile(`([a-z0-9])([A-Z])`)
)

// fakes generates a fake of each interface of the stubs, which are on disk already: counterfeiter reads packages.
func (c Config) fakes(ctx context.Context, files []protoreflect.FileDescriptor, stubs map[string][]byte) (map[string][]byte, error) {
	interfaces := map[string][]string{} // by folder
	for _, f := range files {
		if f.Services().Len() == 0 {
			continue
		}
		dir := c.goDir(f)
		stub := stubs[path.Join(dir, strings.TrimSuffix(path.Base(f.Path()), ".proto")+".pb.micro.go")]
		for _, m := range ifaces.FindAllSubmatch(stub, -1) {
			interfaces[dir] = append(interfaces[dir], string(m[1]))
		}
	}
	out := map[string][]byte{}
	if len(interfaces) == 0 {
		return out, nil
	}
	to := log.Writer()
	log.SetOutput(io.Discard) // counterfeiter tells what it does
	defer log.SetOutput(to)
	loaded, err := c.load(ctx, interfaces)
	if err != nil {
		return nil, err
	}
	wd, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	for dir, names := range interfaces {
		for _, name := range names {
			code, err := fake(loaded, path.Join(c.Module, dir), name, wd)
			if err != nil {
				return nil, fmt.Errorf("fake of %s: %w", name, err)
			}
			out[path.Join(dir, "fakes", strings.ToLower(humps.ReplaceAllString(name, "${1}_$2"))+".go")] = code
		}
	}
	return out, nil
}

// load reads the stubs' packages, with the types of what they import as the build cache has them: all at once, since
// that is what takes time.
func (c Config) load(ctx context.Context, interfaces map[string][]string) (*generator.Cache, error) {
	var paths []string
	for dir := range interfaces {
		paths = append(paths, path.Join(c.Module, dir))
	}
	found, err := packages.Load(&packages.Config{
		Context: ctx, Dir: c.Dir, Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedTypes | packages.NeedTypesSizes,
	}, paths...)
	if err != nil {
		return nil, fmt.Errorf("load stubs: %w", err)
	}
	cache := &generator.Cache{}
	for _, p := range found {
		for _, e := range p.Errors {
			err = errors.Join(err, e)
		}
		cache.Store(p.PkgPath, []*packages.Package{p})
	}
	if err != nil {
		return nil, fmt.Errorf("load stubs: %w", err)
	}
	return cache, nil
}

// fake has counterfeiter make one.
func fake(loaded *generator.Cache, pkg, name, wd string) ([]byte, error) {
	f, err := generator.NewFake(generator.InterfaceOrFunction, name, pkg, name, "fakes", "", wd, loaded)
	if err != nil {
		return nil, err
	}
	code, err := f.Generate(true)
	if err != nil {
		return nil, err
	}
	return format.Source(code)
}
