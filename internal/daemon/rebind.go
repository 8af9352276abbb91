package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watchRemoval calls gone each time the file at path was removed or renamed away, until ctx ends. It waits on inotify, for
// these events alone, so that it costs nothing while other files of the directory change.
func watchRemoval(ctx context.Context, path string, gone func()) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot watch %s: %w", path, err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	stop := context.AfterFunc(ctx, func() { events.Close() })
	defer stop()
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_DELETE|unix.IN_MOVED_FROM); err != nil {
		return fmt.Errorf("cannot watch %s: %w", filepath.Dir(path), err)
	}
	buffer := make([]byte, 16<<10)
	for {
		if _, err := events.Read(buffer); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("cannot watch %s: %w", path, err)
		}
		if _, err := os.Lstat(path); os.IsNotExist(err) {
			gone()
		}
	}
}
