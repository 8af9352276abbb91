package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Where in a group's descriptor it stands where its parts are (the kernel's documentation, "ext4 Data Structures and
// Algorithms").
const (
	groupBlockBitmap = 0
	groupInodeBitmap = 4
	groupInodeTable  = 8
)

const (
	inodeSize   = 256
	groupInodes = 8192 // what mke2fs gives a group by default
	// Room for what e2fsck moves, and for the indexes of most directories.
	leastRoom, moreRoom = 1024, 16                               // blocks, and one more for so many
	maxGroups           = maxWriter / blockSize / blocksPerGroup // whose descriptors the writer leaves room for
)

// addInodes gives each block group as many inodes as mke2fs would: the writer makes only as many as there are files, and
// growing keeps that ratio.
//
// The writer's inode tables lie one after the other behind everything else, and only bitmaps behind them, so they can
// become longer where they are; or behind the blocks of taken, out of which data can be moved later and a table cannot. The
// bitmaps and the counts of what is free stay empty: e2fsck finds out. The file becomes size bytes long.
func addInodes(file *os.File, super superblock, size int64, taken []int64) error {
	first := make([]byte, descriptorSize)
	if _, err := file.ReadAt(first, blockSize); err != nil {
		return err
	}
	le := binary.LittleEndian
	inodes := super.get(superInodes) * inodeSize
	perGroup := max(super.get(superPerGroup), groupInodes)
	was := int64(le.Uint32(first[groupInodeTable:]))
	used := super.get(superBlocks)
	t, err := tables{
		at: was, groups: groupsOf(used), length: perGroup * inodeSize / blockSize, room: used/moreRoom + leastRoom,
	}.place((inodes+blockSize-1)/blockSize, taken)
	if err != nil {
		return err
	}
	if t.at != was {
		if _, err := io.Copy(io.NewOffsetWriter(file, t.at*blockSize), io.NewSectionReader(file, was*blockSize, inodes)); err != nil {
			return err
		}
	}
	// Cut, and made longer again: what follows the inodes are zeros.
	if err := errors.Join(file.Truncate(t.at*blockSize+inodes), file.Truncate(max(size, t.blocks()*blockSize))); err != nil {
		return err
	}
	descriptors := make([]byte, t.groups*descriptorSize)
	for g := range t.groups {
		d := descriptors[g*descriptorSize:]
		le.PutUint32(d[groupBlockBitmap:], uint32(t.bitmaps()+2*g))
		le.PutUint32(d[groupInodeBitmap:], uint32(t.bitmaps()+2*g+1))
		le.PutUint32(d[groupInodeTable:], uint32(t.at+g*t.length))
	}
	super.put(superInodes, t.groups*perGroup)
	super.put(superBlocks, t.blocks())
	super.put(superFreeBlocks, 0)
	super.put(superFreeInodes, 0)
	super.put(superPerGroup, perGroup)
	_, err = file.WriteAt(descriptors, blockSize)
	return err
}

// tables are the inode tables of all groups, and where they lie, in blocks. The bitmaps follow them, and then room.
type tables struct {
	at, groups, length, room int64
}

func (t tables) bitmaps() int64 { return t.at + t.groups*t.length }

// blocks is how large the file system is, of which the last group has at least one block.
func (t tables) blocks() int64 {
	return max(t.bitmaps()+2*t.groups+t.room, (t.groups-1)*blocksPerGroup+1)
}

// place finds room for them where they are, or else behind what used blocks there hold now.
func (t tables) place(used int64, taken []int64) (tables, error) {
	at := t.at
	for again := true; again; {
		again = false
		for t.groups < groupsOf(t.blocks()) {
			t.groups++ // which needs a table too
		}
		for _, b := range taken {
			if b >= t.at && b < t.bitmaps()+2*t.groups {
				t.at, again = max(b+1, at+used), true
			}
		}
	}
	if t.groups > maxGroups {
		return t, fmt.Errorf("its files leave no room for inodes in the %d GiB that a new file system can have", maxWriter>>30)
	}
	return t, nil
}

func groupsOf(blocks int64) int64 { return (blocks + blocksPerGroup - 1) / blocksPerGroup }
