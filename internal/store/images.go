package store

import (
	"context"
	"database/sql"

	"banger/internal/model"
)

const imageColumns = `digest, name, arch, source, init, init_path, env, workdir, user, size_bytes, disk_bytes, created_at`

func scanImage(row scanner) (model.Image, error) {
	var image model.Image
	var env list
	var created int64
	err := row.Scan(&image.Digest, &image.Name, &image.Arch, &image.Source, &image.Init, &image.InitPath, &env, &image.Workdir,
		&image.User, &image.SizeBytes, &image.DiskBytes, &created)
	image.Env, image.CreatedAt = env, fromNanos(created)
	return image, err
}

// Images returns all images, by name; those whose name a newer one has taken come first, with none.
func (s *Store) Images(ctx context.Context) ([]model.Image, error) {
	images, err := collect(ctx, s.db, scanImage, `SELECT `+imageColumns+` FROM images ORDER BY name, digest`)
	return images, failed(err, "read the images")
}

// InsertImage adds an image, or describes one of the same digest anew. Another image of its name loses the name: it
// stays, nameless, for the VMs that use it.
func (s *Store) InsertImage(ctx context.Context, image model.Image) error {
	err := s.write(ctx, ordinary, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE images SET name = '' WHERE name = ? AND digest <> ?`, image.Name, image.Digest); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO images (`+imageColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (digest) DO UPDATE SET name = excluded.name, arch = excluded.arch, source = excluded.source,
			init = excluded.init, init_path = excluded.init_path, env = excluded.env, workdir = excluded.workdir,
			user = excluded.user, size_bytes = excluded.size_bytes, disk_bytes = excluded.disk_bytes, created_at = excluded.created_at`,
			image.Digest, image.Name, image.Arch, image.Source, image.Init, image.InitPath, encode(image.Env), image.Workdir,
			image.User, image.SizeBytes, image.DiskBytes, toNanos(image.CreatedAt))
		return err
	})
	return failed(err, "record image %q", image.Name)
}

// DeleteImage forgets an image. One that is not there is success; one that VMs use is ErrState, which names them.
func (s *Store) DeleteImage(ctx context.Context, digest model.Digest) error {
	err := s.write(ctx, essential, func(tx *sql.Tx) error { return deleteUnused(ctx, tx, "image", digest) })
	return failed(err, "delete the row of image %s", digest.Short())
}
