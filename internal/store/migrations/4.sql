-- When a stop last found nothing in the guest's workspace that had not been taken out. An undo and a start make it 0 again.

ALTER TABLE workspaces ADD COLUMN clean_at INTEGER NOT NULL DEFAULT 0;
