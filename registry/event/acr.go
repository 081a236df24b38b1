package event

// parseACR reads webhooks of Azure Container Registry: one notification of
// distribution's shape. It has no references, so that a push of a signature by
// digest alone cannot be told from others.
func parseACR(l letter, n *notes) error {
	doc, err := read("", l.body)
	if err != nil {
		return err
	}
	return parseNotification(doc, n)
}
