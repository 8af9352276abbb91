// Package image keeps the file systems that guests boot from, together with their kernels.
//
// They are made on this host, from the distribution's signed packages or from what archives and registries hold, are known
// by a SHA-256 of their content, and lie in the data directory, one directory each, beside a manifest. The catalog's row
// makes one usable: it is written last, so that a crash leaves either a whole image with its row or something that Sweep
// takes away.
package image
