package admin

// SQLSTATE codes that only the language needs, beside those of pgerror.
const (
	successfulCompletion        = "00000"
	warning                     = "01000"
	characterNotInRepertoire    = "22021"
	nullValueNotAllowed         = "22004"
	invalidTextRepresentation   = "22P02"
	invalidBinaryRepresentation = "22P03"
	activeTransaction           = "25001"
	duplicateCursor             = "42P03"
	inFailedTransaction         = "25P02"
	invalidSavepoint            = "3B001"
	programLimitExceeded        = "54000"
	cantChangeRuntimeParam      = "55P02"
)
