package stream

import "github.com/pgdrover/pgdrover/pgerror"

// streaming takes the messages of transactions that are sent while in progress
// (protocol version 2).
func (a *assembler) streaming(kind byte, body []byte) error {
	in := cursor{rest: body}
	switch kind {
	case streamStartMessage:
		xid, first := in.uint32(), in.byte()
		if err := in.end(kind); err != nil {
			return err
		}
		return a.streamStart(xid, first == 1)
	case streamStopMessage:
		if a.stream == nil {
			return malformed(kind, "nothing was being streamed")
		}
		a.stream = nil
		return in.end(kind)
	case streamCommitMessage:
		xid := in.uint32()
		_, final, end, at := in.byte(), in.lsn(), in.lsn(), in.time()
		if err := in.end(kind); err != nil {
			return err
		}
		u, err := a.ended(kind, xid)
		if err != nil {
			return err
		}
		u.relations.publish(a.relations)
		if u.empty() {
			u.drop()
			a.setMark(end, at)
			return nil
		}
		return a.deliver(a.transaction(u, final, end, at))
	case streamAbortMessage:
		xid, sub := in.uint32(), in.uint32()
		if err := in.end(kind); err != nil {
			return err
		}
		return a.streamAbort(xid, sub)
	}
	return malformed(kind, "it is of unknown kind")
}

func (a *assembler) streamStart(xid uint32, first bool) error {
	if a.open || a.stream != nil {
		return malformed(streamStartMessage, "the transaction before has not ended")
	}
	u, known := a.streams[xid]
	switch {
	case first && known:
		return pgerror.New(pgerror.ProtocolViolation, "transaction %d in progress begins twice", xid)
	case first:
		u = newStreamed(xid, a.relations)
		a.streams[xid] = u
	case !known:
		return pgerror.New(pgerror.ProtocolViolation, "the beginning of transaction %d in progress is missing", xid)
	}
	a.stream = u
	return nil
}

// ended takes a transaction in progress out of those that are.
func (a *assembler) ended(kind byte, xid uint32) (*unfinished, error) {
	u, ok := a.streams[xid]
	if !ok {
		return nil, pgerror.New(pgerror.ProtocolViolation, "message %q of pgoutput for transaction %d, which is not in progress", kind, xid)
	}
	if a.stream != nil || a.open {
		return nil, malformed(kind, "it is in the midst of another transaction")
	}
	delete(a.streams, xid)
	a.held -= u.held
	u.held = 0
	return u, nil
}

func (a *assembler) streamAbort(xid, sub uint32) error {
	if a.stream != nil || a.open {
		return malformed(streamAbortMessage, "it is in the midst of another transaction")
	}
	if xid == sub {
		u, err := a.ended(streamAbortMessage, xid)
		if err == nil {
			u.drop()
		}
		return err
	}
	u, ok := a.streams[xid]
	if !ok {
		return pgerror.New(pgerror.ProtocolViolation, "message %q of pgoutput for transaction %d, which is not in progress", streamAbortMessage, xid)
	}
	before := u.held
	err := u.abort(sub)
	a.held += u.held - before
	return err
}
