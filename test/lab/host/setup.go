package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"banger/internal/image"
	"banger/test/scenario"
)

// setup is all that a lab needs, and where it is kept.
type setup struct {
	cache   string
	files   files
	held    *os.File // the lock of files.scratch
	payload string
}

// prepare makes what is missing. Without images the scenarios cannot run, but the lab can.
func prepare(ctx context.Context, payload string, images bool) (_ *setup, err error) {
	dir, err := cache()
	if err != nil {
		return nil, err
	}
	s := &setup{cache: dir, payload: payload}
	if s.files.scratch, s.held, err = newScratch(ctx, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.files.system, err = system(ctx, dir); err != nil {
		return nil, err
	}
	s.files.initrd = filepath.Join(s.files.scratch, "initrd")
	if err := initramfs(s.files.initrd, filepath.Join(s.files.system, image.SystemEarly), filepath.Join(payload, "inside")); err != nil {
		return nil, err
	}
	s.files.payload = filepath.Join(s.files.scratch, "payload.ext4")
	if err := payloadDisk(ctx, s.files.payload, payload); err != nil {
		return nil, err
	}
	if err := s.addImages(ctx); err != nil {
		if images {
			return nil, err
		}
		fmt.Fprintln(os.Stderr, "lab: it has no images of banger's:", err)
	}
	return s, nil
}

// addImages gives the lab the image and the kernel of the end-to-end scenarios, so that nothing is fetched in it.
func (s *setup) addImages(ctx context.Context) error {
	host, err := scenario.FindHost()
	if err != nil {
		return err
	}
	data := filepath.Join(host.Shared, "data", "banger")
	disk, err := imagesDisk(ctx, s.cache, data)
	if err == nil && disk == "" {
		if err := host.Prepare(); err != nil {
			return err
		}
		disk, err = imagesDisk(ctx, s.cache, data)
	}
	s.files.images = disk
	return err
}

// boot boots a lab; its console is kept among the results.
func (s *setup) boot(ctx context.Context, keep *results) (*lab, error) {
	return startLab(ctx, s.files, consoleFile{keep})
}

type consoleFile struct{ keep *results }

func (c consoleFile) Write(p []byte) (int, error) {
	c.keep.add("console.log", p)
	return len(p), nil
}

// has says whether a program was given to the lab.
func (s *setup) has(program string) bool {
	_, err := os.Stat(filepath.Join(s.payload, "bin", program))
	return err == nil
}

// env is what scenarios are given beside what the lab gives them.
func (s *setup) env() []string {
	return []string{scenario.Patience + "=6", "BANGER_SCENARIO_TRACE=1"}
}

func (s *setup) close() error {
	defer s.held.Close()
	return os.RemoveAll(s.files.scratch)
}
