package sqldb

import (
	"container/list"
	"database/sql/driver"
)

// maxStmts bounds the prepared statements of a connection: enough for a service's own, few enough for Postgres' memory.
const maxStmts = 256

// stmtCache holds the statements that are prepared on one connection, by their text. Like the connection it is used by one
// goroutine at a time, and no rows of an earlier statement are open when it is asked.
type stmtCache struct {
	byText map[string]*list.Element
	used   *list.List // of *cachedStmt, the latest in front
}

type cachedStmt struct {
	text string
	stmt driver.Stmt
}

func newStmtCache() *stmtCache {
	return &stmtCache{byText: make(map[string]*list.Element), used: list.New()}
}

// get gives the statement for text, which prepare makes if it is new. The one that was used longest ago may be closed for it.
func (c *stmtCache) get(text string, prepare func(string) (driver.Stmt, error)) (driver.Stmt, error) {
	if e, ok := c.byText[text]; ok {
		c.used.MoveToFront(e)
		return e.Value.(*cachedStmt).stmt, nil
	}
	stmt, err := prepare(text)
	if err != nil {
		return nil, err
	}
	c.byText[text] = c.used.PushFront(&cachedStmt{text: text, stmt: stmt})
	if c.used.Len() <= maxStmts {
		return stmt, nil
	}
	oldest := c.used.Remove(c.used.Back()).(*cachedStmt)
	delete(c.byText, oldest.text)
	return stmt, oldest.stmt.Close()
}

// forget drops a statement that may have gone stale.
func (c *stmtCache) forget(text string) {
	if e, ok := c.byText[text]; ok {
		c.used.Remove(e)
		delete(c.byText, text)
		_ = e.Value.(*cachedStmt).stmt.Close() // it is not used again whether or not that works
	}
}

// close closes every statement.
func (c *stmtCache) close() {
	for e := c.used.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*cachedStmt).stmt.Close() // the connection goes with them
	}
}
