package ext4

import "slices"

// Geometry of the writer's file systems.
const (
	blockSize      = 4096
	blocksPerGroup = 8 * blockSize
	descriptorSize = 32
)

// backupBlocks lists, sorted, the blocks in which a file system of size bytes keeps copies of its superblock and group
// descriptors under sparse_super: at the start of group 1 and of the groups that are powers of 3, 5 and 7.
func backupBlocks(size int64) []int64 {
	groups := groupsOf(size / blockSize)
	descriptors := (groups*descriptorSize + blockSize - 1) / blockSize
	first := []int64{1}
	for _, base := range []int64{3, 5, 7} {
		for g := base; g < groups; g *= base {
			first = append(first, g)
		}
	}
	slices.Sort(first)
	var blocks []int64
	for _, g := range first {
		for i := range 1 + descriptors {
			if b := g*blocksPerGroup + i; b < size/blockSize {
				blocks = append(blocks, b)
			}
		}
	}
	return blocks
}
