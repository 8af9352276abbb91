// Package workspace takes a project directory into a guest and brings a reviewed patch back.
//
// What goes in is kept on the host as well, as a tree in a bare git repository of ours in the VM's directory: the base.
// What comes back is a second tree, and the patch is the difference of the two. git never sees a repository that a guest
// could have written: no configuration, no attributes, no hooks and no index of a guest reach it, only file contents and
// names that were checked. The user's own repository is read by commands that write nothing, and its hooks, filters,
// file system monitors and remotes are not run.
package workspace
