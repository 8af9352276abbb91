package linux

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// findDrive returns the device of the drive with that serial, if it is there.
func findDrive(serial string) (string, bool) {
	names, ok := parameter(drivesParameter)
	if !ok {
		return findBySysfs("/sys/block", "serial", serial)
	}
	i := slices.Index(strings.Split(names, ","), serial)
	if i < 0 {
		return "", false
	}
	return nthDrive("/sys/bus/virtio/devices", i)
}

// nthDrive returns the node of the i-th block device of the virtio bus. The kernel numbers that bus's devices in the order
// in which the machine describes them, whereas their own names go by which of them was ready first.
func nthDrive(bus string, i int) (string, bool) {
	const block = "0x0002" // the virtio device's kind
	entries, err := os.ReadDir(bus)
	if err != nil {
		return "", false
	}
	var numbers []int
	for _, e := range entries {
		kind, err := os.ReadFile(filepath.Join(bus, e.Name(), "device"))
		n, numErr := strconv.Atoi(strings.TrimPrefix(e.Name(), "virtio"))
		if err == nil && numErr == nil && strings.TrimSpace(string(kind)) == block {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	if i >= len(numbers) {
		return "", false
	}
	names, err := os.ReadDir(filepath.Join(bus, "virtio"+strconv.Itoa(numbers[i]), "block"))
	if err != nil || len(names) == 0 {
		return "", false // its driver is not ready yet
	}
	node := "/dev/" + names[0].Name()
	_, err = os.Lstat(node)
	return node, err == nil
}
