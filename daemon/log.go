package daemon

import (
	"io"
	"log/slog"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// NewLogger makes the logger that log_format and log_level ask for. The level
// can be changed through the variable it gives.
func NewLogger(cfg *config.Config, out io.Writer) (*slog.Logger, *slog.LevelVar, error) {
	level := &slog.LevelVar{}
	if err := SetLevel(level, cfg); err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.General.LogFormat == config.LogText {
		return slog.New(slog.NewTextHandler(out, options)), level, nil
	}
	return slog.New(slog.NewJSONHandler(out, options)), level, nil
}

// SetLevel makes level what cfg asks for.
func SetLevel(level *slog.LevelVar, cfg *config.Config) error {
	switch strings.ToLower(string(cfg.General.LogLevel)) {
	case "trace", "debug":
		level.Set(slog.LevelDebug)
	case "", "info":
		level.Set(slog.LevelInfo)
	case "warn", "warning":
		level.Set(slog.LevelWarn)
	case "error":
		level.Set(slog.LevelError)
	case "off":
		level.Set(slog.LevelError + 100)
	default:
		return pgerror.New(pgerror.InvalidParameterValue, "log_level %q is unknown", cfg.General.LogLevel).
			WithHint("use trace, debug, info, warn, error or off")
	}
	return nil
}
