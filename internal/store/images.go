package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"slices"

	"banger/internal/model"
)

const imageColumns = `digest, arch, platform, source, reference, manifest, init, init_path, entrypoint, cmd, env, workdir,
	user, stop_signal, labels, size_bytes, disk_bytes, created_at`

const imageNames = `(SELECT json_group_array(name) FROM (SELECT name FROM image_names WHERE digest = images.digest ORDER BY seq))`

func scanImage(row scanner) (model.Image, error) {
	var image model.Image
	var entrypoint, cmd, env, tags list
	var labels string
	var created int64
	err := row.Scan(&image.Digest, &image.Arch, &image.Platform, &image.Source, &image.Reference, &image.Manifest, &image.Init,
		&image.InitPath, &entrypoint, &cmd, &env, &image.Workdir, &image.User, &image.StopSignal, &labels, &image.SizeBytes,
		&image.DiskBytes, &created, &tags)
	if err != nil {
		return image, err
	}
	if labels != "{}" {
		if err := json.Unmarshal([]byte(labels), &image.Labels); err != nil {
			return image, model.Errorf(model.ErrCorrupt, "cannot read the row of image %s: its labels are damaged (%w)", image.Digest.Short(), err)
		}
	}
	image.Entrypoint, image.Cmd, image.Env, image.Tags, image.CreatedAt = entrypoint, cmd, env, tags, fromNanos(created)
	if len(tags) > 0 {
		image.Name = tags[0]
	}
	return image, nil
}

// Images returns all images, by name; those without a name come first.
func (s *Store) Images(ctx context.Context) ([]model.Image, error) {
	images, err := collect(ctx, s.db, scanImage, `SELECT `+imageColumns+`, `+imageNames+` FROM images`)
	slices.SortFunc(images, func(a, b model.Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest))
	})
	return images, failed(err, "read the images")
}

// InsertImage adds an image, or describes one of the same digest anew, and gives it its Tags (or, without any, its Name)
// beside those it has. Another image of such a name loses it: it stays, for the VMs that use it. What has other names, too,
// stays from where and when it was under those; a reference and its manifest are replaced by others alone, because they
// are what a pull finds the image by.
func (s *Store) InsertImage(ctx context.Context, image model.Image) error {
	labels, err := json.Marshal(image.Labels)
	if err != nil || len(image.Labels) == 0 {
		labels = []byte("{}")
	}
	names := image.Tags
	if len(names) == 0 && image.Name != "" {
		names = []string{image.Name}
	}
	err = s.write(ctx, ordinary, func(tx *sql.Tx) error {
		others, err := hasOtherNames(ctx, tx, image.Digest, names)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO images (`+imageColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (digest) DO UPDATE SET arch = excluded.arch, platform = excluded.platform,
			source = iif(?, images.source, excluded.source), created_at = iif(?, images.created_at, excluded.created_at),
			reference = iif(? AND excluded.reference = '', images.reference, excluded.reference),
			manifest = iif(? AND excluded.reference = '', images.manifest, excluded.manifest), init = excluded.init, init_path = excluded.init_path,
			entrypoint = excluded.entrypoint, cmd = excluded.cmd, env = excluded.env, workdir = excluded.workdir,
			user = excluded.user, stop_signal = excluded.stop_signal, labels = excluded.labels,
			size_bytes = excluded.size_bytes, disk_bytes = excluded.disk_bytes`,
			image.Digest, image.Arch, image.Platform, image.Source, image.Reference, image.Manifest, image.Init, image.InitPath,
			encode(image.Entrypoint), encode(image.Cmd), encode(image.Env), image.Workdir, image.User, image.StopSignal,
			string(labels), image.SizeBytes, image.DiskBytes, toNanos(image.CreatedAt), others, others, others, others)
		for _, name := range names {
			if err == nil {
				err = nameImage(ctx, tx, name, image.Digest)
			}
		}
		return err
	})
	return failed(err, "record image %q", image.Name)
}

func hasOtherNames(ctx context.Context, tx *sql.Tx, digest model.Digest, names []string) (bool, error) {
	var others bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM image_names WHERE digest = ? AND name NOT IN (SELECT value FROM json_each(?)))`,
		digest, encode(names)).Scan(&others)
	return others, err
}

// NameImage gives an image one more name, which another one loses. ErrNotFound when there is no such image.
func (s *Store) NameImage(ctx context.Context, name string, digest model.Digest) error {
	err := s.write(ctx, ordinary, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM images WHERE digest = ?`, digest).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return model.Errorf(model.ErrNotFound, "cannot name an image %s: there is no image %s; see: banger image list", name, digest.Short())
		}
		return nameImage(ctx, tx, name, digest)
	})
	return failed(err, "name an image %q", name)
}

// nameImage leaves a name that the image has already where it stands in the order.
func nameImage(ctx context.Context, tx *sql.Tx, name string, digest model.Digest) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM image_names WHERE name = ? AND digest <> ?`, name, digest); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO image_names (name, digest) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, name, digest)
	return err
}

// UnnameImage takes a name away; the image stays. A name that is not there is success.
func (s *Store) UnnameImage(ctx context.Context, name string) error {
	err := s.write(ctx, essential, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM image_names WHERE name = ?`, name)
		return err
	})
	return failed(err, "take the name %q from an image", name)
}

// DeleteImage forgets an image and its names. One that is not there is success; one that VMs use is ErrState, which names
// them.
func (s *Store) DeleteImage(ctx context.Context, digest model.Digest) error {
	err := s.write(ctx, essential, func(tx *sql.Tx) error { return deleteUnused(ctx, tx, "image", digest) })
	return failed(err, "delete the row of image %s", digest.Short())
}

// UsedImages returns the images that VMs use.
func (s *Store) UsedImages(ctx context.Context) (map[model.Digest]bool, error) {
	digests, err := collect(ctx, s.db, func(row scanner) (d model.Digest, err error) { return d, row.Scan(&d) }, `SELECT DISTINCT image FROM vms`)
	used := map[model.Digest]bool{}
	for _, d := range digests {
		used[d] = true
	}
	return used, failed(err, "read which images are used")
}

const settingDefaultImage = "default_image"

// DefaultImage returns the name that SetDefaultImage has recorded, or "".
func (s *Store) DefaultImage(ctx context.Context) (string, error) {
	values, err := collect(ctx, s.db, func(row scanner) (v string, err error) { return v, row.Scan(&v) },
		`SELECT value FROM settings WHERE key = ?`, settingDefaultImage)
	if err != nil || len(values) == 0 {
		return "", failed(err, "read the default image's name")
	}
	return values[0], nil
}

// SetDefaultImage records the name of the image that VMs get for which none is named; "" forgets it.
func (s *Store) SetDefaultImage(ctx context.Context, name string) error {
	err := s.write(ctx, ordinary, func(tx *sql.Tx) error {
		if name == "" {
			_, err := tx.ExecContext(ctx, `DELETE FROM settings WHERE key = ?`, settingDefaultImage)
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO settings (key, value) VALUES (?, ?)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value`, settingDefaultImage, name)
		return err
	})
	return failed(err, "record the default image")
}
