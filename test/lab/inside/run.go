package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"banger/test/lab/wire"
)

// runScenario runs one scenario, sends what it says while it says it, and then the files that it left.
func runScenario(conn *wire.Conn, r wire.Request) (wire.Event, error) {
	// Go ends a test that hangs with a trace of what it was doing; if even that hangs, we end it.
	own := r.Limit - 20*time.Second
	argv := []string{
		filepath.Join(wire.Payload, "lab.test"), "-test.v", "-test.count", "1", "-test.timeout", own.String(),
		"-test.run", "^TestScripts$/^" + r.Name + "$",
	}
	done, err := run(conn, r, argv)
	if done.Code != 0 || err != nil {
		err = errors.Join(err, sendJournal(conn, r.Name))
	}
	return done, errors.Join(err, sendResults(conn))
}

// runCommand runs one line for bash.
func runCommand(conn *wire.Conn, r wire.Request) (wire.Event, error) {
	return run(conn, r, []string{"/bin/bash", "-c", r.Command})
}

// run runs a program in a control group of its own, in which nothing outlives it.
func run(conn *wire.Conn, r wire.Request, argv []string) (wire.Event, error) {
	group, err := newGroup(r.Op)
	if err != nil {
		return wire.Event{}, err
	}
	if !r.Keep {
		defer group.remove()
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = wire.Payload
	cmd.Stdout = wire.Output{Conn: conn}
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.dir.Fd())}
	cmd.Cancel = group.kill
	cmd.WaitDelay = 10 * time.Second
	home, shared := "/root", filepath.Dir(wire.Images)
	if r.User {
		home = filepath.Join("/home", userName)
		if shared, err = userImages(home); err != nil {
			return wire.Event{}, err
		}
		if cmd.SysProcAttr.Credential, err = userCredential(); err != nil {
			return wire.Event{}, err
		}
	}
	cmd.Env = append([]string{
		"PATH=" + searchPath, "HOME=" + home, "LANG=C.UTF-8", "TERM=dumb", "LAB_RESULTS=" + wire.Results, "GOCOVERDIR=" + wire.Results,
		"XDG_DATA_HOME=" + filepath.Join(shared, "data"), "BANGER_E2E_BIN=" + wire.Payload + "/bin", "BANGER_E2E_SHARED=" + shared,
	}, r.Env...)
	err = cmd.Run()
	done := wire.Event{Over: ctx.Err() != nil}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		status := exit.Sys().(syscall.WaitStatus)
		done.Code = status.ExitStatus()
		if status.Signaled() {
			done.Code = 128 + int(status.Signal())
		}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return done, err
	}
	return done, nil
}

// userCredential is the ordinary user's, with the groups that a login would give.
func userCredential() (*syscall.Credential, error) {
	kvm, err := user.LookupGroup("kvm")
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(kvm.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: userID, Gid: userID, Groups: []uint32{userID, uint32(gid)}}, nil
}

// userImages gives the ordinary user a copy of the images and kernels, made once.
func userImages(home string) (string, error) {
	shared := filepath.Join(home, "shared")
	if _, err := os.Stat(shared); err == nil {
		return shared, nil
	}
	made := shared + ".new"
	err := errors.Join(os.RemoveAll(made), os.Mkdir(made, 0o700))
	if _, there := os.Stat(wire.Images); err == nil && there == nil {
		err = command("cp", "--archive", "--sparse=always", wire.Images, made+"/data")
	}
	if err == nil {
		err = command("chown", "-R", fmt.Sprintf("%d:%d", userID, userID), made)
	}
	return shared, errors.Join(err, os.Rename(made, shared))
}

// sendResults sends the files of the results' directory, which is emptied for the next scenario.
func sendResults(conn *wire.Conn) error {
	entries, err := os.ReadDir(wire.Results)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(wire.Results, e.Name())
		if e.Type().IsRegular() {
			errs = append(errs, sendFile(conn, e.Name(), path))
		}
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

func sendFile(conn *wire.Conn, name, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return conn.SendFile(name, file)
}

// sendJournal sends the end of what the system and its kernel wrote down.
func sendJournal(conn *wire.Conn, name string) error {
	cmd := exec.Command("journalctl", "--boot", "--no-pager", "--lines=2000", "--output=short-monotonic")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = conn.SendFile(name+".journal", out)
	_, _ = io.Copy(io.Discard, out)
	return errors.Join(err, cmd.Wait())
}
