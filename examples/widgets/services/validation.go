package services

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-playground/validator/v10"

	"micromesh/pkg/errs"
)

// check holds a value against the rules of its tags, and tells everything that is wrong at once.
//
// Errors: Invalid, with the code VALIDATION_ERROR.
func check(v any) error {
	validate := validator.New(validator.WithRequiredStructEnabled())
	validate.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name
	})
	var wrong validator.ValidationErrors
	if err := validate.Struct(v); !errors.As(err, &wrong) {
		return err
	}
	e := errs.New(errs.Invalid, "VALIDATION_ERROR", "%s %s", wrong[0].Field(), said(wrong[0]))
	for _, w := range wrong {
		e = e.With(errs.Detail{Field: w.Field(), Rule: w.Tag(), Message: said(w)})
	}
	return e
}

// said tells what would be right.
func said(e validator.FieldError) string {
	switch e.Tag() {
	case "required":
		return "is missing"
	case "oneof":
		return "must be one of " + strings.ReplaceAll(e.Param(), " ", ", ")
	case "max":
		return fmt.Sprintf("has at most %s characters", e.Param())
	case "gte":
		return "must be at least " + e.Param()
	case "lte":
		return "must be at most " + e.Param()
	}
	return "is not valid: " + e.Tag()
}
