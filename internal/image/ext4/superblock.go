package ext4

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Where in the superblock something stands, and what is written there (the kernel's documentation, "ext4 Data Structures
// and Algorithms").
const (
	superOffset = 1024 // in the file
	superSize   = 1024

	superInodes     = 0
	superBlocks     = 4
	superFreeBlocks = 12
	superFreeInodes = 16
	superPerGroup   = 40 // inodes
	superMagic      = 56 // of two bytes
	superCompatible = 92
	superReadOnly   = 100 // features of which a kernel that does not know one may only read
	superUUID       = 104
	superHashSeed   = 236
	superHash       = 252 // one byte
	superFlexGroups = 372 // one byte, a binary logarithm

	magic        = 0xef53
	dirIndex     = 0x20   // compatible
	sparseSuper2 = 0x200  // compatible
	sparseSuper  = 0x1    // read-only
	readOnly     = 0x1000 // read-only
	halfMD4      = 1
)

// flexGroups is mke2fs's. The writer's flex groups have no end, and resize2fs looks for a place for each table from where its
// flex group begins.
const flexGroups = 4

type superblock []byte

func (s superblock) get(at int) int64    { return int64(binary.LittleEndian.Uint32(s[at:])) }
func (s superblock) put(at int, v int64) { binary.LittleEndian.PutUint32(s[at:], uint32(v)) }

// open has the superblock say that the file system is an ordinary one, for e2fsck to make it so.
func (w Written) open(path string, size int64) (err error) {
	uuid, err := hex.DecodeString(strings.ReplaceAll(w.UUID, "-", ""))
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	super := make(superblock, superSize)
	if _, err := file.ReadAt(super, superOffset); err != nil {
		return err
	}
	if super.get(superMagic)&0xffff != magic {
		return fmt.Errorf("%s is no ext4 file system", path)
	}
	if err := addInodes(file, super, size, backupBlocks(size)); err != nil {
		return err
	}
	super.put(superCompatible, super.get(superCompatible)&^sparseSuper2|dirIndex)
	super.put(superReadOnly, super.get(superReadOnly)&^readOnly|sparseSuper)
	copy(super[superUUID:], uuid)
	copy(super[superHashSeed:], uuid)
	super[superHash], super[superFlexGroups] = halfMD4, flexGroups
	_, err = file.WriteAt(super, superOffset)
	return err
}
