package wire

import "net/http"

// The codes that an [Error] carries, for programs to compare.
const (
	CodeMalformed      = "MALFORMED_REQUEST"
	CodeMethod         = "METHOD_NOT_ALLOWED"
	CodeBodyTooLarge   = "BODY_TOO_LARGE"
	CodeTargetTooLong  = "URI_TOO_LONG"
	CodeExpectation    = "EXPECTATION_FAILED"
	CodeHeaderTooLarge = "HEADER_TOO_LARGE"
	CodeTransferCoding = "TRANSFER_CODING_UNSUPPORTED"
	CodeVersion        = "HTTP_VERSION_UNSUPPORTED"
)

// Error says why a message is refused, and how a server answers it. In a response the status and the code mean
// nothing: there, every Error makes a bad gateway.
type Error struct {
	Status int
	Code   string
	Reason string // one line that is safe to show to whoever sent the message
}

// Error gives the reason.
func (e *Error) Error() string { return e.Reason }

func malformed(reason string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeMalformed, Reason: reason}
}

func headerTooLarge(reason string) *Error {
	return &Error{Status: http.StatusRequestHeaderFieldsTooLarge, Code: CodeHeaderTooLarge, Reason: reason}
}

func unsupportedCoding() *Error {
	return &Error{
		Status: http.StatusNotImplemented, Code: CodeTransferCoding,
		Reason: "the only transfer coding that is understood is chunked",
	}
}
