package vm

import (
	"context"
	"errors"
	"sync"
	"time"

	"banger/internal/model"
)

// HoldLease keeps a leased VM from being deleted until release is called and Limits.Lease has passed without another
// holder. Holding a VM that is not leased does nothing.
func (s *Service) HoldLease(ctx context.Context, id model.VMID) (release func(), err error) {
	if _, err := s.Store.VM(ctx, id); err != nil {
		return nil, err
	}
	e := s.entry(id)
	e.mu.Lock()
	e.holders++
	if e.expiry != nil {
		e.expiry.Stop()
		e.expiry = nil
	}
	e.mu.Unlock()
	return sync.OnceFunc(func() {
		e.mu.Lock()
		e.holders--
		e.mu.Unlock()
		s.expire(id)
	}), nil
}

// expire begins the time after which a leased VM without holders is deleted.
func (s *Service) expire(id model.VMID) {
	e := s.entry(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.holders > 0 || e.expiry != nil || s.ctx.Err() != nil {
		return
	}
	e.expiry = time.AfterFunc(s.Limits.Lease, func() { s.deleteExpired(e) })
}

func (s *Service) deleteExpired(e *entry) {
	e.mu.Lock()
	e.expiry = nil
	held := e.holders > 0
	e.mu.Unlock()
	if held || s.ctx.Err() != nil {
		return
	}
	v, err := s.Store.VM(s.ctx, e.id)
	if errors.Is(err, model.ErrNotFound) {
		s.forget(e.id)
		return
	}
	if err == nil && !v.Leased {
		return
	}
	s.Log.Info("the client of a leased VM is gone; deleting the VM", "vm", string(e.id))
	if _, err := s.Delete(s.ctx, e.id); err != nil {
		s.Log.Error("cannot delete a VM whose lease ran out", "vm", string(e.id), "error", err)
	}
}
