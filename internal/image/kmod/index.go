package kmod

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// index is libkmod's search tree from keys to values: a node's prefix is the part of the key that all below it share,
// and each child stands for one more byte.
type index struct {
	prefix   string
	values   []indexValue
	children map[byte]*index
}

type indexValue struct {
	priority uint32
	text     string
}

// The file format, big-endian: a node is stored after its children and is known by its offset, whose upper bits say
// which of prefix, children and values it has.
const (
	indexMagic   = 0xB007F457
	indexVersion = 0x00020001
	hasPrefix    = 0x80000000
	hasValues    = 0x40000000
	hasChildren  = 0x20000000
)

// insert adds a value. Of several under one key the lowest priority comes first.
func (n *index) insert(key, text string, priority int) {
	common := 0
	for common < len(n.prefix) && common < len(key) && n.prefix[common] == key[common] {
		common++
	}
	if common < len(n.prefix) {
		below := &index{prefix: n.prefix[common+1:], values: n.values, children: n.children}
		n.children, n.values = map[byte]*index{n.prefix[common]: below}, nil
		n.prefix = n.prefix[:common]
	}
	if key = key[common:]; key == "" {
		v := indexValue{uint32(priority), text}
		at, _ := slices.BinarySearchFunc(n.values, v, func(a, b indexValue) int { return int(a.priority) - int(b.priority) })
		n.values = slices.Insert(n.values, at, v)
		return
	}
	if n.children == nil {
		n.children = map[byte]*index{}
	}
	child, ok := n.children[key[0]]
	if !ok {
		child = &index{prefix: key[1:]}
		n.children[key[0]] = child
	}
	child.insert(key[1:], text, priority)
}

func (n *index) encode() []byte {
	var out bytes.Buffer
	out.Write(binary.BigEndian.AppendUint32(nil, indexMagic))
	out.Write(binary.BigEndian.AppendUint32(nil, indexVersion))
	out.Write(make([]byte, 4))
	root := n.write(&out)
	binary.BigEndian.PutUint32(out.Bytes()[8:], root)
	return out.Bytes()
}

// write appends the node and returns its offset with the flags.
func (n *index) write(out *bytes.Buffer) uint32 {
	var table []byte
	if len(n.children) > 0 {
		first, last := byte(255), byte(0)
		for c := range n.children {
			first, last = min(first, c), max(last, c)
		}
		table = []byte{first, last}
		for c := int(first); c <= int(last); c++ {
			var offset uint32
			if child := n.children[byte(c)]; child != nil {
				offset = child.write(out)
			}
			table = binary.BigEndian.AppendUint32(table, offset)
		}
	}
	offset := uint32(out.Len())
	if n.prefix != "" {
		out.WriteString(n.prefix + "\x00")
		offset |= hasPrefix
	}
	if table != nil {
		out.Write(table)
		offset |= hasChildren
	}
	if len(n.values) > 0 {
		out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(n.values))))
		for _, v := range n.values {
			out.Write(binary.BigEndian.AppendUint32(nil, v.priority))
			out.WriteString(v.text + "\x00")
		}
		offset |= hasValues
	}
	return offset
}
