// Package crash names the points at which tests kill the process.
//
// There is one point before each durable or host-visible effect of a long operation, one after it, and Points lists them
// all, so that a test can walk every one. Only a build with the crash tag can be armed; in any other At is empty.
package crash

import (
	"strconv"
	"strings"
)

// Points lists the name of every call of At in banger, sorted. A test compares it with the source.
func Points() []string {
	return []string{
		"create.dir.after",
		"create.disk.after",
		"create.outcome.after",
		"create.row.after",
		"create.row.before",
		"create.work.after",
		"delete.disk.after",
		"delete.end.after",
		"delete.files.after",
		"delete.intent.after",
		"delete.intent.before",
		"delete.row.after",
		"image.build.before-digest",
		"image.build.before-finish",
		"image.delete.after-row",
		"image.delete.before-mark",
		"image.delete.before-row",
		"image.draft.after",
		"image.draft.before",
		"image.flatten.before-finish",
		"image.import.spooled",
		"image.kernel.before-digest",
		"image.kernel.before-modules",
		"image.layer.after-rename",
		"image.layer.before-rename",
		"image.publish.after-row",
		"image.publish.before-rename",
		"image.publish.before-row",
		"image.pull.after-layers",
		"image.pull.before-layers",
		"image.register.copied",
		"overlay.create.after",
		"overlay.create.base",
		"overlay.create.before",
		"overlay.remove.after",
		"overlay.remove.before",
		"qcow2.create.after",
		"qcow2.create.before",
		"qcow2.remove.after",
		"qcow2.remove.before",
		"reconcile.undo.after",
		"set.after",
		"set.intent.after",
		"set.intent.before",
		"start.disk.after",
		"start.handles.after",
		"start.intent.after",
		"start.intent.before",
		"start.network.after",
		"start.network.before",
		"start.ready.after",
		"start.ready.before",
		"start.undone",
		"start.vmm.after",
		"start.vmm.recorded",
		"stop.end.after",
		"stop.end.before",
		"stop.intent.after",
		"stop.intent.before",
		"stop.outcome.after",
		"store.create.after",
		"store.create.before",
		"workdisk.create.after",
		"workdisk.create.before",
		"workdisk.remove.after",
		"workdisk.remove.before",
		"workspace.back.after",
		"workspace.converge",
		"workspace.discard.after",
		"workspace.forward.after",
		"workspace.record.after",
		"workspace.record.before",
		"workspace.stage.after",
		"workspace.stage.before",
		"workspace.staged",
	}
}

// parse splits name#n; n is 1 when it is not given or not a number.
func parse(armed string) (name string, nth int64) {
	name, count, ok := strings.Cut(armed, "#")
	if n, err := strconv.ParseInt(count, 10, 64); ok && err == nil && n > 0 {
		return name, n
	}
	return name, 1
}
