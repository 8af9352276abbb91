package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"banger/internal/model"
)

func TestImageComesBackAsItWas(t *testing.T) {
	t.Parallel()
	s := open(t)
	image := model.Image{
		Digest: digest(3), Name: "a", Arch: "amd64", Source: "somewhere", Init: model.InitSystemd, InitPath: "/sbin/init",
		Env: []string{"A=b", "C="}, Workdir: "/w", User: "u", SizeBytes: 1 << 40, DiskBytes: 5, CreatedAt: moment,
	}
	for range 2 {
		if err := s.InsertImage(t.Context(), image); err != nil {
			t.Fatal(err)
		}
		all, err := s.Images(t.Context())
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		image.Tags = []string{"a"}
		if diff := cmp.Diff(image, all[0]); diff != "" {
			t.Error(diff)
		}
		image.Source, image.Env, image.CreatedAt = "described anew", nil, moment.Add(time.Second)
	}
}

func TestKernelComesBackAsItWas(t *testing.T) {
	t.Parallel()
	s := open(t)
	kernel := model.Kernel{
		Digest: digest(3), Name: "a", Arch: "amd64", Release: "6.1.0", Source: "a package", EarlyModules: []string{"x.ko", "y z.ko"},
		SizeBytes: 7, CreatedAt: moment,
	}
	for range 2 {
		if err := s.InsertKernel(t.Context(), kernel); err != nil {
			t.Fatal(err)
		}
		all, err := s.Kernels(t.Context())
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		if diff := cmp.Diff(kernel, all[0]); diff != "" {
			t.Error(diff)
		}
		kernel.Release, kernel.EarlyModules = "6.2.0", nil
	}
}

func TestANewImageTakesTheName(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	vm := create(t, s, "box") // uses image 1
	if err := errors.Join(s.InsertImage(ctx, model.Image{Digest: digest(5), Name: "debian"}), s.InsertKernel(ctx, model.Kernel{Digest: digest(6), Name: "debian-cloud"})); err != nil {
		t.Fatal(err)
	}
	images, err := s.Images(ctx)
	if err != nil || len(images) != 2 || images[0].Digest != digest(1) || images[0].Name != "" || images[1].Digest != digest(5) || images[1].Name != "debian" {
		t.Errorf("%+v, %v", images, err)
	}
	kernels, err := s.Kernels(ctx)
	if err != nil || len(kernels) != 2 || kernels[0].Digest != digest(2) || kernels[0].Name != "" || kernels[1].Name != "debian-cloud" {
		t.Errorf("%+v, %v", kernels, err)
	}
	if after, err := s.VM(ctx, vm.ID); err != nil || after.Image != digest(1) {
		t.Errorf("the VM lost its image: %+v, %v", after, err)
	}
}

func TestDeleteOfWhatIsUsed(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	var last model.VM
	for i := range 7 {
		last = create(t, s, fmt.Sprintf("box-%d", i))
	}
	for _, del := range []func() error{
		func() error { return s.DeleteImage(ctx, digest(1)) },
		func() error { return s.DeleteKernel(ctx, digest(2)) },
	} {
		err := del()
		wantKind(t, err, model.ErrState)
		if !strings.Contains(err.Error(), "banger vm delete box-0 box-1 box-2 box-3 box-4") || !strings.Contains(err.Error(), "and 2 more") {
			t.Errorf("the message does not name them: %v", err)
		}
	}
	// The schema holds it too, whoever writes.
	if _, err := s.db.ExecContext(ctx, `DELETE FROM images WHERE digest = ?`, last.Image); err == nil {
		t.Error("the foreign key does not hold")
	}
	if err := errors.Join(s.DeleteImage(ctx, digest(9)), s.DeleteKernel(ctx, digest(9))); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
}

func TestDeleteOfWhatIsNotUsed(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	if err := errors.Join(s.DeleteImage(ctx, digest(1)), s.DeleteKernel(ctx, digest(2))); err != nil {
		t.Fatal(err)
	}
	images, err := s.Images(ctx)
	kernels, err2 := s.Kernels(ctx)
	if err != nil || err2 != nil || len(images)+len(kernels) != 0 {
		t.Errorf("%v %v %v %v", images, err, kernels, err2)
	}
}

func operation(id, key string) model.Operation {
	return model.Operation{ID: model.OperationID(id), Kind: "create", Subject: "box", State: model.OperationRunning, IdempotencyKey: key, CreatedAt: moment}
}

func TestOperations(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	first := operation("a", "key")
	for _, c := range []struct {
		op, want model.Operation
		fresh    bool
	}{
		{first, first, true}, {operation("b", "key"), first, false}, {operation("c", ""), operation("c", ""), true}, {operation("d", ""), operation("d", ""), true},
	} {
		got, fresh, err := s.InsertOperation(ctx, c.op)
		if err != nil || fresh != c.fresh {
			t.Errorf("%s: %v, %v", c.op.ID, fresh, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
	first.State, first.Stage, first.Error, first.FinishedAt = model.OperationFailed, "boot", "it broke", moment.Add(time.Minute)
	if err := s.UpdateOperation(ctx, first); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.UpdateOperation(ctx, operation("none", "")), model.ErrNotFound)
	all, err := s.Operations(ctx, false)
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	if diff := cmp.Diff(first, all[0]); diff != "" {
		t.Error(diff)
	}
	if running, err := s.Operations(ctx, true); err != nil || len(running) != 2 {
		t.Errorf("%v, %v", running, err)
	}
	if err := s.FailRunningOperations(ctx, "the daemon ended"); err != nil {
		t.Fatal(err)
	}
	all, err = s.Operations(ctx, false)
	if err != nil || all[0].Error != "it broke" || all[1].State != model.OperationFailed || all[1].Error != "the daemon ended" || all[2].FinishedAt.IsZero() {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestOldOperationsAreForgotten(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	if _, err := s.db.ExecContext(ctx, `PRAGMA synchronous(OFF)`); err != nil { // this test writes a lot
		t.Fatal(err)
	}
	const extra = 20
	for i := range maxOperations + extra {
		op := operation(fmt.Sprint(i), fmt.Sprint("key ", i))
		if i != 3 { // the one that still runs
			op.State = model.OperationDone
		}
		if _, _, err := s.InsertOperation(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Operations(ctx, false)
	if err != nil || len(all) != maxOperations+1 || all[0].ID != "3" || string(all[1].ID) != fmt.Sprint(extra) {
		t.Errorf("%d operations from %s and %s on, %v", len(all), all[0].ID, all[1].ID, err)
	}
}
