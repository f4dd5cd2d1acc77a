package app

import "context"

// openStock connects to the NATS server of services in plain go-micro, where one is set. Nobody waits for it.
func (a *App) openStock(ctx context.Context) (err error) {
	if a.cfg.StockNATS == "" {
		return nil
	}
	if a.stockNATS, err = a.host.ConnectGuests(ctx, a.cfg.StockNATS, Name); err != nil {
		return err
	}
	a.host.RPC.CallGuestsOver(a.stockNATS)
	return nil
}
