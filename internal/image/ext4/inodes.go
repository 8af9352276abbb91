package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// What the superblock and the descriptor of a group say about inodes, by where in them it stands (the kernel's
// documentation, "ext4 Data Structures and Algorithms").
const (
	superOffset = 1024 // in the file
	superSize   = 1024
	superMagic  = 0xef53

	superInodes     = 0
	superBlocks     = 4
	superFreeBlocks = 12
	superFreeInodes = 16
	superPerGroup   = 40 // inodes
	superMagicWord  = 56

	groupBlockBitmap = 0
	groupInodeBitmap = 4
	groupInodeTable  = 8
)

const (
	inodeSize   = 256
	groupInodes = 8192                                   // what mke2fs gives a group by default
	maxGroups   = maxWriter / blockSize / blocksPerGroup // whose descriptors the writer leaves room for
)

// addInodes gives each block group as many inodes as mke2fs would: the writer makes only as many as there are files, and
// growing keeps that ratio.
//
// The writer's inode tables lie one after the other behind everything else, and only bitmaps behind them, so they can
// become longer where they are; or behind the blocks of taken, out of which e2fsck moves data but no table. The bitmaps
// and the counts of what is free stay empty: e2fsck finds out. The file becomes size bytes long.
func addInodes(path string, size int64, taken []int64) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	super, first := make([]byte, superSize), make([]byte, descriptorSize)
	if _, err := file.ReadAt(super, superOffset); err != nil {
		return err
	}
	if _, err := file.ReadAt(first, blockSize); err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint16(super[superMagicWord:]) != superMagic {
		return fmt.Errorf("%s is no ext4 file system", path)
	}
	inodes := int64(le.Uint32(super[superInodes:])) * inodeSize
	perGroup := max(int64(le.Uint32(super[superPerGroup:])), groupInodes)
	was := int64(le.Uint32(first[groupInodeTable:]))
	t, err := place(was, (inodes+blockSize-1)/blockSize, groupsOf(int64(le.Uint32(super[superBlocks:]))), perGroup*inodeSize/blockSize, taken)
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
	le.PutUint32(super[superInodes:], uint32(t.groups*perGroup))
	le.PutUint32(super[superBlocks:], uint32(t.blocks()))
	le.PutUint32(super[superFreeBlocks:], 0)
	le.PutUint32(super[superFreeInodes:], 0)
	le.PutUint32(super[superPerGroup:], uint32(perGroup))
	_, err = file.WriteAt(descriptors, blockSize)
	if err == nil {
		_, err = file.WriteAt(super, superOffset)
	}
	return err
}

// tables are the inode tables of all groups, and where they lie, in blocks. The bitmaps follow them.
type tables struct {
	at, groups, length int64
}

func (t tables) bitmaps() int64 { return t.at + t.groups*t.length }

// blocks is how large the file system is, of which the last group has at least one block.
func (t tables) blocks() int64 {
	return max(t.bitmaps()+2*t.groups, (t.groups-1)*blocksPerGroup+1)
}

// place finds room from at on, or else behind what used blocks there hold now.
func place(at, used, groups, length int64, taken []int64) (tables, error) {
	t := tables{at, groups, length}
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
